"""`headrace migrate`: schema and vector index."""

from pathlib import Path

import psycopg

from adapters.bootstrap import prepare_database
from adapters.cli.place import resolve
from adapters.cli.screen import out, put_json
from adapters.cli.session import unreachable
from domain.errors import SettingsError


def run_migrate(data_dir: Path | None, *, as_json: bool) -> None:
    """Apply what is missing and say what was applied."""
    settings, place = resolve(data_dir)
    if settings.is_sqlite:
        raise SettingsError(
            "DATABASE_URL names a SQLite file, which serves reservations alone; migrate needs PostgreSQL"
        )
    try:
        done = prepare_database(settings)
    except psycopg.OperationalError as error:
        raise unreachable(error, place) from error
    if as_json:
        put_json({"applied": done})
    else:
        out().print("\n".join(f"applied {name}" for name in done) or "The database is up to date.")
