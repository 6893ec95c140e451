"""Where everything is: what the settings name, else the servers of a `headrace up` that runs in the data folder."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from adapters.embedded.folders import default_data_dir, is_running
from adapters.embedded.stack import Stack
from adapters.settings import Settings, load_settings
from domain.errors import SettingsError

STACK_FILE = "stack.json"


class Named(BaseSettings):
    """What environment, `.env` and secrets files name; None for what they leave to us."""

    model_config = Settings.model_config

    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    blob_url: str | None = None
    log_format: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What a running `up` provides beyond what the settings name. `database`: a fingerprint of its database's address.

    No password is in it: the embedded servers let their own user in without one.
    """

    pid: int
    database: str
    database_url: str | None
    redis_url: str | None
    blob_url: str | None

    @property
    def addresses(self) -> dict[str, str]:
        """The settings it stands in for."""
        found = {"database_url": self.database_url, "redis_url": self.redis_url, "blob_url": self.blob_url}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def environment(self) -> list[str]:
        """The same for `env`, as NAME=value."""
        return [f"{name.upper()}={value}" for name, value in self.addresses.items()]


def own_place(stack: Stack, named: Named | None = None) -> Place:
    """Describe what a stack of ours provides where `named` names nothing; blobs go into the data folder."""
    named = named or Named.model_construct()
    database = named.database_url.get_secret_value() if named.database_url else str(stack.database_url)
    return Place(
        pid=os.getpid(),
        database=_fingerprint(database),
        database_url=None if named.database_url else stack.database_url,
        redis_url=None if named.redis_url else stack.redis_url,
        blob_url=None if named.blob_url else f"file://{quote(str(stack.data_dir / 'blobs'))}",
    )


def find_place(data_dir: Path | None = None) -> Place | None:
    """Return the place that a live `up` has published in the data folder."""
    folder = (data_dir or default_data_dir()).resolve()
    with suppress(OSError, ValueError, TypeError):
        place = Place(**json.loads((folder / STACK_FILE).read_text()))
        owner = int((folder / "owner.lock").read_text() or 0)
        if place.pid == owner and is_running(owner):
            return place
    return None


@contextmanager
def published(place: Place, data_dir: Path) -> Iterator[None]:
    """Let other commands of this user find the place until the block ends."""
    path = data_dir / STACK_FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(place), file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def resolve(data_dir: Path | None = None) -> tuple[Settings, Place | None]:
    """Return the settings, completed from a running `up`; the place is None when it has no part in them.

    Raises SettingsError when there is neither.
    """
    named, place = Named(), find_place(data_dir)
    if named.database_url is None and place is None:
        raise SettingsError(
            "DATABASE_URL is not set, and no `headrace up` runs here: start one with `headrace up` in another "
            "terminal, or set DATABASE_URL and REDIS_URL (docs/configuration.md)"
        )
    if place is None or (named.database_url and _fingerprint(named.database_url.get_secret_value()) != place.database):
        return load_settings(), None
    unnamed = {name: value for name, value in place.addresses.items() if getattr(named, name) is None}
    return load_settings(unnamed), place


def _fingerprint(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]
