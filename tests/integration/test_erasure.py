"""Erasures: nothing of it is left in any table or in storage, nothing else is touched, and the receipt is right."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.blobs.store import ObstoreBlobStore
from adapters.postgres.erasures import ErasureSearch, PostgresErasures
from domain.erasure import ErasureReport, erase_document, erase_workspace
from domain.errors import ParkedError, PermanentError
from domain.intake import receive_document
from domain.jobs import Lease
from tests.builders import (
    WORKSPACE,
    Rails,
    a_failed_document,
    a_pending_job,
    a_ready_document,
    a_running_job,
    a_workspace,
    an_indexing_document,
)

#: What a workspace keeps: its name, keys, usage, receipts, and the job that erases with its news.
KEPT = {"workspaces", "api_keys", "workspace_daily_usage", "erasures", "jobs", "job_attempts", "job_events"}


class Desk:
    def __init__(self, rails: Rails, folder: Path) -> None:
        self.rails = rails
        self.blobs = ObstoreBlobStore(f"file://{folder}")
        self.folder = folder

    def document(self, content: bytes, workspace_id: UUID = WORKSPACE) -> UUID:
        key = f"{workspace_id}/{uuid4()}"
        self.blobs.put(key, [content])
        return a_ready_document(
            self.rails,
            [content.decode(), "Shared."],
            content=content,
            workspace_id=workspace_id,
            blob_key=key,
        )

    def files(self) -> int:
        return sum(path.is_file() for path in self.folder.rglob("*"))

    def lease(self) -> Lease:
        return a_running_job(self.rails, name="erase", queue="exports").lease

    def erase(self, document_id: UUID, lease: Lease | None = None) -> ErasureReport:
        ports = {"erasures": PostgresErasures(self.rails.pool), "blobs": self.blobs}
        return erase_document(document_id, WORKSPACE, lease=lease or self.lease(), **ports)

    def erase_all(self, lease: Lease | None = None, **options: Any) -> ErasureReport:
        ports = {"erasures": PostgresErasures(self.rails.pool), "blobs": self.blobs, "blob_list": self.blobs} | options
        return erase_workspace(WORKSPACE, lease=lease or self.lease(), **ports)

    def traces(self, text: str) -> set[str]:
        """Name the tables that still say something."""
        tables = self.rails.column(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {
            table for table in tables
            if self.rails.column(f"SELECT 1 FROM {table} t WHERE t::text LIKE %s LIMIT 1", f"%{text}%")
        }  # fmt: skip


@pytest.fixture
def desk(rails: Rails, tmp_path: Path) -> Desk:
    return Desk(rails, tmp_path)


def test_nothing_of_an_erased_document_is_left(desk: Desk) -> None:
    gone, stays = desk.document(b"secret one"), desk.document(b"secret two")

    report = desk.erase(gone)

    assert desk.traces(str(gone)) == {"erasures"}
    assert desk.traces("secret one") == set()
    assert desk.files() == 1
    assert desk.rails.document(stays)["state"] == "ready"
    assert report.counts["documents"] == report.counts["blobs"] == 1
    assert report.counts["document_pages"] == 2
    assert report.counts["chunk_embeddings"] == report.counts["chunks"] == 1
    [receipt] = ErasureSearch(desk.rails.pool).receipts(WORKSPACE)
    assert receipt["counts"] == dict(report.counts)
    assert receipt["finished_at"] is not None


def test_a_second_attempt_counts_nothing_twice(desk: Desk) -> None:
    document_id, lease = desk.document(b"once"), desk.lease()

    class Fails(Exception):
        pass

    class Breaking(ObstoreBlobStore):
        def delete(self, key: str) -> None:
            raise Fails

    ports = {"erasures": PostgresErasures(desk.rails.pool), "blobs": Breaking(f"file://{desk.folder}")}
    with pytest.raises(Fails):
        erase_document(document_id, WORKSPACE, lease=lease, **ports)
    report = desk.erase(document_id, lease)

    assert desk.files() == 0
    assert (report.counts["documents"], report.counts["blobs"]) == (1, 1)


def test_a_document_of_nobody_or_of_another_workspace_is_not_erased(desk: Desk) -> None:
    stranger = desk.document(b"theirs", a_workspace(desk.rails))

    for document_id in (stranger, uuid4()):
        with pytest.raises(PermanentError, match="no document"):
            desk.erase(document_id)
    assert desk.rails.document(stranger)["state"] == "ready"
    assert desk.files() == 1


def test_erasing_waits_for_the_attempt_that_still_writes(desk: Desk) -> None:
    held, lease = an_indexing_document(desk.rails, blob_key=f"{WORKSPACE}/x"), desk.lease()

    with pytest.raises(ParkedError):
        desk.erase(held.id, lease)

    assert desk.rails.ledger.cancel(held.lease.job_id, held.lease)
    assert desk.erase(held.id, lease).counts["documents"] == 1
    assert desk.traces(str(held.id)) == {"erasures"}


def test_the_same_bytes_uploaded_during_an_erasure_are_another_document(desk: Desk) -> None:
    content = b"%PDF-1.7 secret"
    held = an_indexing_document(desk.rails, content=content)
    with pytest.raises(ParkedError):
        desk.erase(held.id)

    receipt = receive_document(
        WORKSPACE, "again.pdf", [content], transactions=desk.rails.transactions, blobs=desk.blobs, max_bytes=1000
    )

    assert receipt.is_new
    assert receipt.document_id != held.id


def test_an_erased_workspace_keeps_its_name_and_receipt_alone(desk: Desk) -> None:
    for number in range(3):
        desk.document(f"secret {number}".encode())
    a_failed_document(desk.rails, content=b"failed", blob_key=f"{WORKSPACE}/failed")
    desk.rails.connection.execute("INSERT INTO unowned_blobs VALUES (%s, now())", [f"{WORKSPACE}/later"])
    a_pending_job(desk.rails, workspace_id=WORKSPACE)
    stranger_id = a_workspace(desk.rails)
    stranger = desk.document(b"theirs", stranger_id)
    before = desk.traces(str(stranger_id))

    report = desk.erase_all()

    assert desk.traces(str(WORKSPACE)) <= KEPT | {"unowned_blobs"}
    assert desk.traces("secret") == set()
    assert desk.rails.column("SELECT count(*) FROM jobs WHERE workspace_id = %s", WORKSPACE) == [1]
    assert report.counts["documents"] == 4
    assert report.counts["blobs"] == 3
    assert report.counts["document_pages"] == 6
    assert report.counts["jobs"] >= 8
    assert desk.traces(str(stranger_id)) == before
    assert desk.rails.document(stranger)["state"] == "ready"
    assert desk.files() == 1


def test_vectors_that_enter_the_index_meanwhile_are_erased_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.erasure.BATCH_ROWS", 3)
    for number in range(6):
        desk.document(f"secret {number}".encode())
    lease = desk.lease()

    with ThreadPoolExecutor(1) as thread:
        with desk.rails.transaction() as unit:
            assert unit.sweeping.index_vectors(limit=2, spare=0) == 2
            erased = thread.submit(desk.erase_all, lease)
            sleep(0.3)
            assert not erased.done(), "it waits for the vectors"
        report = erased.result()

    assert desk.rails.count("chunk_embeddings") == 0
    assert report.counts["chunk_embeddings"] == 6


@pytest.mark.parametrize("deleted", [1, 3])
def test_blobs_are_counted_once_though_the_job_dies_among_them(desk: Desk, deleted: int) -> None:
    lease = desk.lease()
    for number in range(3):
        desk.document(f"secret {number}".encode())

    class Fails(Exception):
        pass

    class Breaking(ObstoreBlobStore):
        left = deleted

        def delete(self, key: str) -> None:
            super().delete(key)
            self.left -= 1
            if not self.left:
                raise Fails

    with pytest.raises(Fails):
        desk.erase_all(lease, blobs=Breaking(f"file://{desk.folder}"))
    report = desk.erase_all(lease)

    assert desk.files() == 0
    assert (report.counts["documents"], report.counts["blobs"]) == (3, 3)


def test_every_table_of_a_workspace_is_erased_or_kept_on_purpose(desk: Desk) -> None:
    with_workspace = set(desk.rails.column(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'r'"
        " AND c.relnamespace = 'public'::regnamespace AND a.attname = 'workspace_id' AND NOT a.attisdropped"
    ))  # fmt: skip

    assert with_workspace - set(PostgresErasures(desk.rails.pool).tables()) <= KEPT


def test_a_workspace_waits_for_what_still_runs(desk: Desk) -> None:
    running, lease = a_running_job(desk.rails, name="slow", queue="other"), desk.lease()

    with pytest.raises(ParkedError):
        desk.erase_all(lease)

    assert desk.rails.ledger.cancel(running.lease.job_id, running.lease)
    assert desk.erase_all(lease).counts["jobs"] >= 1
