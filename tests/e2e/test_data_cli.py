"""`headrace exports`, `erase`, `notifications` and `warm` as people and scripts use them, over real workers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from tests.builders import WORKSPACE
from tests.e2e.conftest import IMPATIENT, Site
from tests.e2e.test_cli import run
from tests.pdf_files import text_pdf
from tests.workers import Workers, running_workers

NAMES = ("DATABASE_URL", "REDIS_URL", "BLOB_URL")


@pytest.fixture(scope="module")
def workers(module_site: Site) -> Iterator[Workers]:
    with running_workers(module_site.environment | IMPATIENT, processes=1) as workers:
        yield workers


def headrace(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(*arguments, **{name: site.environment[name] for name in NAMES})


def as_json(site: Site, *arguments: str) -> Any:
    answer = headrace(site, *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_workspace_is_taken_along_and_a_document_erased(site: Site, workers: Workers, tmp_path: Path) -> None:
    document_id = site.upload(text_pdf(tmp_path / "mill.pdf", ["The mill."]).read_bytes()).document_id
    assert site.wait_for_documents(document_id) == ["ready"]
    as_json(site, "notifications", "prefer", "ada", "--kind", "document.failed")

    export_id = as_json(site, "exports", "create", "--format", "parquet")["job_id"]
    site.wait_for_jobs()
    manifest = as_json(site, "exports", "download", export_id, str(tmp_path / "export"))

    assert json.loads((tmp_path / "export/manifest.json").read_text()) == manifest
    assert parquet.read_table(tmp_path / "export/chunks")["text"].to_pylist() == ["The mill."]
    assert as_json(site, "exports", "list")[0]["state"] == "ready"
    assert "parquet" in headrace(site, "exports", "list").stdout

    erasure_id = as_json(site, "erase", "document", str(document_id))["job_id"]
    as_json(site, "warm")
    site.wait_for_jobs()

    [receipt] = as_json(site, "erase", "receipts")
    assert (receipt["id"], receipt["counts"]["documents"]) == (erasure_id, 1)
    assert "erased" in headrace(site, "erase", "receipts").stdout
    warmed = site.rails.column("SELECT data ->> 'way' FROM job_events WHERE event = 'cache.warmed'")
    assert warmed in (["rows"], ["pg_prewarm"])
    states = site.rails.column("SELECT DISTINCT state FROM jobs")
    assert states == ["succeeded"]


def test_users_are_told_and_read(site: Site, workers: Workers) -> None:
    from adapters.postgres.jobs import named_job

    note = {"user": "bob", "kind": "a.b", "title": "Hear, hear", "body": "", "about": "", "dedup_key": ""}
    site.rails.ledger.enqueue(named_job("user:notification", {"workspace_id": WORKSPACE, **note}))
    site.wait_for_jobs()

    assert [row["title"] for row in as_json(site, "notifications", "list", "--user", "bob", "--unread")] == [
        "Hear, hear"
    ]
    assert "Hear, hear" in headrace(site, "notifications", "list").stdout
    assert as_json(site, "notifications", "read", "bob") == {"count": 1}
    assert as_json(site, "notifications", "list", "--user", "bob", "--unread") == []


def test_what_cannot_be_is_said_in_one_sentence(site: Site, workers: Workers, tmp_path: Path) -> None:
    for arguments in (
        ("exports", "create", "--format", "xlsx"),
        ("exports", "download", str(WORKSPACE), str(tmp_path)),
        ("notifications", "prefer", "two words"),
    ):
        answer = headrace(site, *arguments)
        assert answer.returncode in (1, 2)
        assert "Traceback" not in answer.stderr
        assert answer.stderr.strip()
