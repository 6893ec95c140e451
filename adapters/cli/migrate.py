"""`headrace migrate`: schema and vector index."""

from pathlib import Path

from adapters.cli.place import resolve
from adapters.cli.screen import out, put_json
from adapters.cli.session import prepare


def run_migrate(data_dir: Path | None, *, as_json: bool) -> None:
    """Apply what is missing and say what was applied."""
    done = prepare(*resolve(data_dir))
    if as_json:
        put_json({"applied": done})
    else:
        out().print("\n".join(f"applied {name}" for name in done) or "The database is up to date.")
