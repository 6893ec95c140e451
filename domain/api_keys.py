"""API keys: who calls, for which workspace, and what they may do. A key is shown once and stored as a hash."""

import hashlib
import secrets
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import InvalidJobError

#: How every key begins, so that scanners find one that leaked.
BRAND = "hr_"

#: 43 of 62 characters carry 256 bits; six more carry the checksum, so that a typo is found without asking anybody.
_ALPHABET = string.ascii_letters + string.digits
SECRET_CHARACTERS, CHECKSUM_CHARACTERS = 43, 6

#: How much of a key people see, and what it is looked up by: 12 characters of the secret, of which 184 bits remain.
PREFIX_CHARACTERS = len(BRAND) + 12


class Scope(StrEnum):
    """What a key may do, in its own workspace alone."""

    READ_DOCUMENTS = "documents:read"
    WRITE_DOCUMENTS = "documents:write"
    SEARCH = "search"
    READ_TASKS = "tasks:read"
    WRITE_TASKS = "tasks:write"
    EVENTS = "events"
    STATS = "stats"
    WEBHOOKS = "webhooks"
    EXPORTS = "exports"
    NOTIFICATIONS = "notifications"
    READ_MEDIA = "media:read"
    WRITE_MEDIA = "media:write"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored. `prefix`: how it begins; the rest is known to nobody but its holder."""

    id: UUID
    workspace_id: UUID
    name: str
    prefix: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def new_secret() -> str:
    """Make a key: brand, 256 random bits, checksum."""
    body = BRAND + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARACTERS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Tell whether it can be a key at all: what was mistyped or cut off is refused without asking the database."""
    body, checksum = key[:-CHECKSUM_CHARACTERS], key[-CHECKSUM_CHARACTERS:]
    is_long_enough = len(key) == len(BRAND) + SECRET_CHARACTERS + CHECKSUM_CHARACTERS
    return is_long_enough and key.isascii() and key.startswith(BRAND) and checksum == _checksum(body)


def prefix_of(key: str) -> str:
    """Return the part of a key that may be seen."""
    return key[:PREFIX_CHARACTERS]


def digest(key: str) -> bytes:
    """Return what is stored of a key. Its 256 random bits need no slow hash: nobody can try them all."""
    return hashlib.sha256(key.encode()).digest()


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Read scopes; none means all. Raises InvalidJobError that lists what there is."""
    try:
        return frozenset(map(Scope, names)) or frozenset(Scope)
    except ValueError as error:
        raise InvalidJobError(f"{error}; there are: {', '.join(Scope)}") from None


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, rest = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[rest]
    return digits
