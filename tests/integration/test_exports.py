"""Exports: what is in the files is what was in the tables, whatever died on the way."""

import gzip
import hashlib
import json
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow.parquet as parquet
import pytest

from adapters.blobs.store import ObstoreBlobStore
from adapters.exports.files import TemporaryPartFiles
from adapters.postgres.exports import ExportSearch, PostgresExports
from domain.errors import JobCancelledError, LeaseLostError, PermanentError
from domain.exports import ExportFormat, ExportKind, ExportReport, export_workspace
from domain.jobs import Lease
from tests.builders import WORKSPACE, Rails, a_ready_document, a_running_job, a_workspace

KEEP = timedelta(days=7)


class Desk:
    """Exports of a test's workspace, into a folder."""

    def __init__(self, rails: Rails, folder: Path) -> None:
        self.rails = rails
        self.blobs = ObstoreBlobStore(f"file://{folder}")
        self.exports = PostgresExports(rails.pool)
        self.folder = folder

    def lease(self) -> Lease:
        return a_running_job(self.rails, name="export_workspace", queue="exports").lease

    def run(self, wanted: str, lease: Lease | None = None, **options: Any) -> ExportReport:
        ports = {"exports": self.exports, "blobs": self.blobs, "files": TemporaryPartFiles(), "keep": KEEP} | options
        return export_workspace(WORKSPACE, wanted, lease=lease or self.lease(), **ports)

    def manifest(self, export_id: UUID) -> dict[str, Any]:
        row = ExportSearch(self.rails.pool).export(export_id, WORKSPACE)
        assert row is not None
        return row["manifest"]

    def rows(self, export_id: UUID, kind: str) -> list[dict[str, Any]]:
        """Read what was exported, checking every file against the manifest."""
        files = {file["sha256"]: file for file in self.manifest(export_id)["files"]}
        keys = self.rails.column(
            "SELECT blob_key FROM export_parts WHERE export_id = %s AND kind = %s ORDER BY number", export_id, kind
        )
        found: list[dict[str, Any]] = []
        for key in keys:
            content = (self.folder / key).read_bytes()
            part = _parse(self.folder / key, content)
            noted = files[hashlib.sha256(content).hexdigest()]
            assert (noted["rows"], noted["bytes"]) == (len(part), len(content))
            found += part
        return found


def _parse(path: Path, content: bytes) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in gzip.decompress(content).decode().splitlines()]


@pytest.fixture
def desk(rails: Rails, tmp_path: Path) -> Iterator[Desk]:
    for number in range(5):
        pages = [f"Page {page} of {number}: the mill turns, the river → «runs»." for page in range(4)]
        a_ready_document(rails, pages, content=str(number).encode(), blob_key=f"{WORKSPACE}/{number}")
    a_ready_document(rails, ["Another workspace."], workspace_id=a_workspace(rails), content=b"other")
    return Desk(rails, tmp_path)


@pytest.mark.parametrize("wanted", ["jsonl", "parquet"])
def test_what_is_exported_is_what_there_was(desk: Desk, wanted: str) -> None:
    report = desk.run(wanted, part_rows=3)

    chunks = [
        (row["document_id"], row["ordinal"], row["text"], row["text_hash"])
        for row in desk.rows(report.export_id, "chunks")
    ]
    assert chunks == desk.rails.connection.execute(
        "SELECT document_id::text, ordinal, text, encode(text_hash, 'hex') FROM chunks WHERE workspace_id = %s"
        " ORDER BY document_id, ordinal", [WORKSPACE]).fetchall()  # fmt: skip
    pages = [(row["document_id"], row["number"], row["text"]) for row in desk.rows(report.export_id, "pages")]
    assert pages == desk.rails.connection.execute(
        "SELECT p.document_id::text, number, text FROM document_pages p JOIN documents d ON d.id = p.document_id"
        " WHERE workspace_id = %s ORDER BY document_id, number", [WORKSPACE]).fetchall()  # fmt: skip
    vectors = {row["text_hash"]: row["embedding"] for row in desk.rows(report.export_id, "embeddings")}
    stored = dict(
        desk.rails.connection.execute(
            "SELECT encode(text_hash, 'hex'), embedding::real[] FROM chunk_embeddings WHERE workspace_id = %s",
            [WORKSPACE],
        )
    )
    assert vectors.keys() == stored.keys()
    assert all(np.array_equal(np.float32(vectors[key]), np.float32(stored[key])) for key in stored)
    assert {row["id"] for row in desk.rows(report.export_id, "documents")} == set(
        desk.rails.column("SELECT id::text FROM documents WHERE workspace_id = %s", WORKSPACE)
    )
    assert desk.manifest(report.export_id)["rows"] == {
        "documents": 5, "pages": 20, "chunks": len(chunks), "embeddings": len(stored)}  # fmt: skip
    assert report.changed_documents == 0


def test_pages_that_are_read_in_small_pieces_are_all_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain import exports

    monkeypatch.setattr(exports, "BATCH_BYTES", 100)
    report = desk.run("jsonl")

    assert desk.manifest(report.export_id)["rows"]["pages"] == 20


@pytest.mark.parametrize("wanted", ["jsonl", "parquet"])
def test_a_killed_worker_leaves_no_temporary_file(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has no name while it is written cannot be left behind by `kill -9`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kind = ExportKind.PAGES
    rows = [("document", number, "The mill turns.", False) for number in range(10)]

    with TemporaryPartFiles().write(ExportFormat(wanted), kind, iter([rows])) as file:
        file.seek(0)
        assert len(file.read()) > 0
        assert list(tmp_path.iterdir()) == []


def test_an_empty_workspace_has_an_export_of_nothing(desk: Desk) -> None:
    desk.rails.connection.execute("DELETE FROM chunk_embeddings; DELETE FROM documents")

    report = desk.run("parquet")

    assert (report.parts, report.row_count) == (4, 0)
    assert desk.rows(report.export_id, "chunks") == []


class Death(BaseException):
    """The process is gone."""


class DyingExports(PostgresExports):
    """Dies when a part has been stored, before or after it is noted."""

    def __init__(self, rails: Rails, *, after: int, noted: bool) -> None:
        super().__init__(rails.pool)
        self._left = after
        self._noted = noted

    def add_part(self, *args: Any) -> None:
        self._left -= 1
        if self._noted or self._left:
            super().add_part(*args)
        if not self._left:
            raise Death


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_killed_export_goes_on_behind_the_last_part(desk: Desk, after: int, noted: bool) -> None:
    whole = desk.run("jsonl", part_rows=3)
    claim = a_running_job(desk.rails, name="export_workspace", queue="exports")
    with pytest.raises(Death):
        desk.run("jsonl", claim.lease, exports=DyingExports(desk.rails, after=after, noted=noted), part_rows=3)

    desk.rails.expire(claim.lease.job_id)
    desk.rails.leases.rescue_expired()
    desk.rails.make_due()
    desk.rails.ring()
    again = desk.rails.claim(claim.lease.job_id)
    assert again is not None
    report = desk.run("jsonl", again.lease, part_rows=3)

    assert report.resumed_after == after - (not noted)
    assert report.row_count == whole.row_count
    for kind in ("documents", "pages", "chunks", "embeddings"):
        assert desk.rows(report.export_id, kind) == desk.rows(whole.export_id, kind)


def test_every_blob_of_an_export_is_noted_to_be_removed_when_it_expires(desk: Desk) -> None:
    report = desk.run("jsonl", part_rows=3)

    left = desk.rails.column(
        "SELECT blob_key FROM export_parts p WHERE NOT EXISTS (SELECT FROM unowned_blobs b JOIN exports e"
        " ON e.expires_at = b.delete_after WHERE b.key = p.blob_key AND e.id = p.export_id)"
    )
    assert left == []
    assert report.parts > 4


def test_documents_that_change_meanwhile_are_counted(desk: Desk) -> None:
    class Meddling(PostgresExports):
        def expect_blob(self, *args: Any) -> None:
            desk.rails.connection.execute(
                "DELETE FROM documents WHERE id = (SELECT min(id::text)::uuid FROM documents WHERE workspace_id = %s)"
                " AND NOT EXISTS (SELECT FROM export_parts)", [WORKSPACE])  # fmt: skip
            super().expect_blob(*args)

    assert desk.run("jsonl", exports=Meddling(desk.rails.pool)).changed_documents == 1


def test_a_stale_attempt_notes_nothing(desk: Desk) -> None:
    lease = desk.lease()

    class Late(PostgresExports):
        def expect_blob(self, *args: Any) -> None:
            desk.rails.connection.execute("UPDATE jobs SET lease = lease + 1 WHERE id = %s", [lease.job_id])
            super().expect_blob(*args)

    with pytest.raises(LeaseLostError):
        desk.run("jsonl", lease, exports=Late(desk.rails.pool))
    assert desk.rails.count("export_parts") == 0


def test_a_cancelled_export_stops(desk: Desk) -> None:
    lease = desk.lease()
    desk.rails.ledger.request_cancel(lease.job_id)

    with pytest.raises(JobCancelledError):
        desk.run("jsonl", lease)


def test_progress_never_goes_back_and_is_told(desk: Desk) -> None:
    report = desk.run("jsonl", part_rows=3)

    told = desk.rails.column("SELECT (data ->> 'progress')::int FROM job_events WHERE event = 'progress' ORDER BY id")
    assert told == sorted(told)
    assert len(told) == report.parts
    assert desk.rails.column("SELECT event FROM job_events ORDER BY id DESC LIMIT 2") == ["succeeded", "export.ready"]


def test_an_unknown_format_is_refused(desk: Desk) -> None:
    with pytest.raises(PermanentError, match="jsonl, parquet"):
        desk.run("xlsx")
