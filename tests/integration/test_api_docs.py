"""docs/api.md names every call with its scope, and every code that it names exists."""

import re
from pathlib import Path

from adapters.api.app import create_app
from adapters.settings import Settings
from domain.api_keys import Scope
from domain.tasks import Reason

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/api.md").read_text(encoding="utf-8")
NOWHERE = Settings(_env_file=None, database_url="postgresql://x@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")


def test_every_call_is_in_the_table() -> None:
    table = TEXT.partition("<!-- calls: begin -->")[2].partition("<!-- calls: end -->")[0]
    rows = dict(re.findall(r"^\| `([A-Z]+ \S+)` \| ([\w:]+) \|", table, re.MULTILINE))
    paths = create_app(NOWHERE).openapi()["paths"]
    calls = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}

    assert rows.keys() == calls
    assert set(rows.values()) <= set(Scope) | {"none"}
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert bool(operation.get("security")) is (rows[f"{method.upper()} {path}"] != "none")


def test_every_reason_is_named() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in TEXT] == []


def test_every_code_of_the_table_is_one_that_is_answered() -> None:
    section = TEXT.partition("## Errors")[2].partition("An `Idempotency-Key`")[0]
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", section)) | {"conflict"}
    sources = (
        "".join(path.read_text() for path in (ROOT / "adapters/api").rglob("*.py"))
        + (ROOT / "domain/errors.py").read_text()
    )

    made = {f"{what}_not_found" for what in ("document", "task", "export", "erasure", "notification")}
    assert [code for code in named - made if f'"{code}"' not in sources] == []
