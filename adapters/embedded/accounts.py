"""Which system account our servers run as: PostgreSQL refuses to run as root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.errors import EmbeddedError

CANDIDATES = ("headrace", "nobody", "postgres", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    """A system account."""

    name: str
    uid: int
    gid: int


def am_root() -> bool:
    """Tell whether this process may change the user of its children."""
    return os.geteuid() == 0


def owner_name() -> str:
    """Return the name of the account this process runs as, which PostgreSQL checks at the socket."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedError(
            f"user id {os.geteuid()} has no name on this system, and PostgreSQL needs one; add it to /etc/passwd"
        ) from None


def server_account(data: Path) -> Account | None:
    """Return the account to run servers as, None for our own.

    As root: the owner of `data` if it exists, so that a folder keeps its owner for life, else the first candidate.
    """
    if not am_root():
        return None
    if data.exists() and (uid := data.stat().st_uid) != 0:
        return _owner(data, uid)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in CANDIDATES:
        if name in known and known[name].pw_uid != 0:
            return _account(known[name])
    raise EmbeddedError(f"PostgreSQL does not run as root and none of {', '.join(CANDIDATES)} exists; add a user")


def _owner(data: Path, uid: int) -> Account:
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:
        raise EmbeddedError(
            f"{data} belongs to user id {uid}, which has no name on this system; add it to /etc/passwd, or give the "
            "folder and all in it to another user"
        ) from None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
