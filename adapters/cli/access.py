"""What `headrace keys` and `headrace workspaces` do."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from adapters.cli.screen import facts, out, put_json, say, table
from adapters.cli.session import session
from adapters.postgres.api_keys import PostgresApiKeys
from domain.api_keys import ApiKey, parse_scopes
from domain.dead_letters import parse_age
from domain.errors import InvalidJobError

MOST_NAME_CHARACTERS = 100


def run_create_key(
    name: str, *, workspace: str, scopes: Sequence[str], expires: str | None, data_dir: Path | None, as_json: bool
) -> None:
    """Make a key; its text goes to standard output, alone, so that a script can keep it."""
    wanted, lifetime = parse_scopes(scopes), parse_age(expires) if expires else None
    with session(data_dir, workspace) as here:
        keys = PostgresApiKeys(here.producer.pool)
        key, secret = keys.create(here.workspace_id, _name(name), wanted, lifetime=lifetime)
    if as_json:
        put_json({**_plain(key), "key": secret})
        return
    out().print(secret)
    say(f"It opens workspace {workspace!r} and is shown this once. `headrace keys revoke {key.prefix}` ends its life.")


def run_list_keys(workspace: str | None, *, data_dir: Path | None, as_json: bool) -> None:
    """Print the keys of a workspace, or all."""
    with session(data_dir, workspace or "default") as here:
        access = PostgresApiKeys(here.producer.pool)
        keys = access.list_keys(here.workspace_id if workspace else None)
        names = {each["id"]: each["name"] for each in access.list_workspaces()}
    if as_json:
        put_json([_plain(key) for key in keys])
        return
    columns = ["key", "name", "workspace", "state", "scopes", "expires", "last used", "id"]
    rows = [
        (
            key.prefix,
            key.name,
            names.get(key.workspace_id, key.workspace_id),
            _state(key),
            " ".join(sorted(key.scopes)),
            _day(key.expires_at),
            _day(key.last_used_at),
            key.id,
        )
        for key in keys
    ]
    out().print(table(columns, rows) if rows else "There are no keys yet: headrace keys create NAME")


def run_revoke_key(key: str, *, data_dir: Path | None, as_json: bool) -> None:
    """End a key's life."""
    with session(data_dir) as here:
        revoked = PostgresApiKeys(here.producer.pool).revoke(key)
    if revoked is None:
        raise InvalidJobError(f"there is no key {key!r} that works; `headrace keys list` lists them")
    if as_json:
        put_json(_plain(revoked))
    else:
        out().print(f"{revoked.prefix} ({revoked.name}) works no longer.")


def run_create_workspace(name: str, *, daily_tokens: int | None, data_dir: Path | None, as_json: bool) -> None:
    """Add a workspace."""
    with session(data_dir) as here:
        added = PostgresApiKeys(here.producer.pool).create_workspace(_name(name), daily_token_budget=daily_tokens)
    if as_json:
        put_json(added)
    else:
        out().print(facts(added.items()))


def run_list_workspaces(*, data_dir: Path | None, as_json: bool) -> None:
    """Print the workspaces."""
    with session(data_dir) as here:
        rows = PostgresApiKeys(here.producer.pool).list_workspaces()
    if as_json:
        put_json(rows)
        return
    columns = ["workspace", "id", "documents", "keys", "tokens a day"]
    cells = [(row["name"], row["id"], row["documents"], row["keys"], row["daily_token_budget"]) for row in rows]
    out().print(table(columns, cells, right=["documents", "keys", "tokens a day"]))


def _name(name: str) -> str:
    """Check a name. Raises InvalidJobError."""
    name = name.strip()
    if not name or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
        raise InvalidJobError(f"a name has from 1 to {MOST_NAME_CHARACTERS} printable characters")
    return name


def _plain(key: ApiKey) -> dict[str, object]:
    return asdict(key) | {"scopes": sorted(key.scopes), "state": _state(key)}


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "works"


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""
