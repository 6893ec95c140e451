"""A new version of a document: readers see the old one until it is replaced, and pay for new texts alone."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from domain.errors import FailureCode, JobCancelledError, PermanentError
from domain.extraction import extract_document
from domain.housekeeping import sweep_blobs
from domain.indexing import Indexer, index_document
from domain.intake import Receipt, delete_document, receive_document, reindex_document, replace_document
from domain.jobs import Lease
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    FakeBlobs,
    FakeEmbedder,
    FakeReader,
    Rails,
    a_chunker,
    a_workspace,
    must_claim,
)


def texts(name: str, count: int = 6) -> list[str]:
    return [f"Page {n} of the {name} tells of a mill on the river. " * 5 for n in range(count)]


def lease_of(rails: Rails, job_id: UUID) -> Lease:
    return Lease(job_id, rails.job(job_id)["lease"])


class Shelf:
    """Documents and everything that works on them."""

    def __init__(self, rails: Rails) -> None:
        self.rails = rails
        self.blobs = FakeBlobs()
        self.embedder = FakeEmbedder()
        self.files: dict[bytes, list[str]] = {}

    def receive(self, pages: list[str]) -> UUID:
        receipt = receive_document(
            WORKSPACE, "a.pdf", [self.file(pages)], transactions=self.rails.transactions, blobs=self.blobs, max_bytes=99
        )
        return receipt.document_id

    def replace(self, document_id: UUID, pages: list[str], *, workspace_id: UUID = WORKSPACE) -> Receipt | None:
        return replace_document(
            document_id,
            workspace_id,
            [self.file(pages)],
            transactions=self.rails.transactions,
            blobs=self.blobs,
            max_bytes=99,
        )

    def file(self, pages: list[str]) -> bytes:
        content = f"%PDF-1.7 {hash(tuple(pages))}".encode()
        self.files[content] = pages
        return content

    def run(self, job_id: UUID) -> None:
        """Run one job of a document as a worker does."""
        lease, job = must_claim(self.rails, job_id).lease, self.rails.job(job_id)
        ports = {"lease": lease, "transactions": self.rails.transactions}
        if job["actor"] == "index_document":
            index_document(job["document_id"], WORKSPACE, indexer=Indexer(a_chunker(), self.embedder), **ports)
            return
        content = self.blobs.blobs[self.rails.document(job["document_id"])["blob_key"]]
        extract_document(
            job["document_id"], WORKSPACE, blobs=self.blobs, reader=FakeReader(self.files[content]), **ports
        )

    def run_all(self) -> None:
        waiting = "SELECT id FROM jobs WHERE state IN ('pending', 'queued', 'retrying') ORDER BY created_at LIMIT 1"
        while found := self.rails.column(waiting):
            self.run(found[0])

    def seen(self, document_id: UUID) -> str:
        """What readers see."""
        published = (
            "SELECT c.text FROM chunks c JOIN documents d ON d.id = c.document_id AND d.generation = c.generation"
            " WHERE d.id = %s ORDER BY ordinal"
        )
        return " ".join(self.rails.column(published, document_id))

    def leftovers(self) -> dict[str, int]:
        tables = ("document_pages", "chunks", "chunk_embeddings", "token_reservations", "unowned_blobs")
        return {table: count for table in tables if (count := self.rails.count(table))}


@pytest.fixture
def shelf(rails: Rails) -> Shelf:
    return Shelf(rails)


@pytest.fixture
def ready(shelf: Shelf) -> UUID:
    document_id = shelf.receive(texts("first edition"))
    shelf.run_all()
    return document_id


def test_readers_see_the_old_version_until_the_new_one_is_ready(shelf: Shelf, ready: UUID) -> None:
    receipt = shelf.replace(ready, texts("second edition"))

    assert receipt.is_new
    steps = []
    while shelf.rails.document(ready)["state"] != "ready":
        steps.append(("first edition" in shelf.seen(ready), "second edition" in shelf.seen(ready)))
        shelf.run(shelf.rails.document(ready)["job_id"])
    assert steps == [(True, False)] * 2
    assert "first edition" not in shelf.seen(ready)
    assert "second edition" in shelf.seen(ready)
    assert shelf.rails.column("SELECT DISTINCT generation FROM document_pages") == [2]


def test_only_texts_that_are_new_are_embedded(shelf: Shelf, ready: UUID) -> None:
    shelf.embedder.calls.clear()
    changed = [*texts("first edition")[:-1], "The last page was written anew."]

    shelf.replace(ready, changed)
    shelf.run_all()

    embedded = [text for call in shelf.embedder.calls for text in call]
    assert embedded, "something is new"
    assert all("written anew" in text or "Page 4" in text for text in embedded), "and only around the change"
    assert shelf.rails.document(ready)["tokens_embedded"] < 200


def test_the_old_versions_texts_go_with_it(shelf: Shelf, ready: UUID) -> None:
    shelf.replace(ready, texts("second edition"))
    shelf.run_all()

    unneeded = (
        "SELECT count(*) FROM chunk_embeddings e"
        " WHERE NOT EXISTS (SELECT FROM chunks c WHERE c.text_hash = e.text_hash)"
    )
    assert shelf.rails.column(unneeded) == [0]


def test_of_several_versions_the_latest_wins(shelf: Shelf, ready: UUID) -> None:
    jobs = [shelf.replace(ready, texts(f"edition {n}")).job_id for n in range(3)]

    assert [shelf.rails.job(job_id)["state"] for job_id in jobs] == ["cancelled", "cancelled", "pending"]
    shelf.run_all()

    assert "edition 2" in shelf.seen(ready)
    assert "edition 1" not in shelf.seen(ready)
    row = shelf.rails.document(ready)
    assert (row["state"], row["generation"]) == ("ready", 4)
    sweep_blobs(transactions=shelf.rails.transactions, blobs=shelf.blobs)
    assert list(shelf.blobs.blobs) == [row["blob_key"]]


def test_of_several_versions_at_the_same_time_one_wins_whole(shelf: Shelf, ready: UUID) -> None:
    with ThreadPoolExecutor(4) as threads:
        receipts = list(threads.map(lambda n: shelf.replace(ready, texts(f"edition {n}")), range(8)))
    shelf.run_all()
    sweep_blobs(transactions=shelf.rails.transactions, blobs=shelf.blobs)

    row = shelf.rails.document(ready)
    assert (row["state"], row["generation"]) == ("ready", 9)
    assert all(receipt.is_new for receipt in receipts)
    assert list(shelf.blobs.blobs) == [row["blob_key"]]
    assert shelf.files[shelf.blobs.blobs[row["blob_key"]]][0].strip() in shelf.seen(ready)
    states = shelf.rails.column("SELECT state FROM jobs WHERE id = ANY(%s)", [receipt.job_id for receipt in receipts])
    assert sorted(states) == ["cancelled"] * 7 + ["succeeded"]


@pytest.mark.parametrize("stage", ["extract_document", "index_document"])
def test_a_new_version_stops_the_attempt_that_works_on_the_old_one(shelf: Shelf, stage: str) -> None:
    document_id = shelf.receive(texts("first edition"))
    if stage == "index_document":
        shelf.run(shelf.rails.document(document_id)["job_id"])
    old = must_claim(shelf.rails, shelf.rails.document(document_id)["job_id"]).lease

    shelf.replace(document_id, texts("second edition"))

    with pytest.raises(JobCancelledError), shelf.rails.transaction(old):
        pytest.fail("the old version's attempt got in")
    assert shelf.rails.ledger.cancel(old.job_id, old)
    assert shelf.rails.document(document_id)["state"] == "uploaded", "the end of the old job is not the document's"
    shelf.run_all()
    assert "second edition" in shelf.seen(document_id)


def test_the_same_bytes_change_nothing(shelf: Shelf, ready: UUID) -> None:
    before = shelf.rails.document(ready)

    receipt = shelf.replace(ready, texts("first edition"))

    assert receipt == Receipt(ready, None, is_new=False)
    assert shelf.rails.document(ready) == before
    assert shelf.rails.column("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == [0]


def test_the_same_bytes_do_not_stop_the_job_that_works_on_them(shelf: Shelf) -> None:
    document_id = shelf.receive(texts("first edition"))
    lease = must_claim(shelf.rails, shelf.rails.document(document_id)["job_id"]).lease

    shelf.replace(document_id, texts("first edition"))

    with shelf.rails.transaction(lease):
        pass


def test_a_version_that_fails_leaves_readers_the_old_one_and_the_next_mends_it(shelf: Shelf, ready: UUID) -> None:
    job_id = shelf.replace(ready, ["", ""]).job_id
    with pytest.raises(PermanentError) as caught:
        shelf.run(job_id)
    assert caught.value.code is FailureCode.PDF_NO_TEXT
    assert shelf.rails.ledger.fail(job_id, lease_of(shelf.rails, job_id), A_FAILURE)
    assert shelf.rails.document(ready)["state"] == "failed"
    assert "first edition" in shelf.seen(ready)

    shelf.replace(ready, texts("third edition"))
    shelf.run_all()

    assert "third edition" in shelf.seen(ready)
    assert shelf.rails.column("SELECT DISTINCT generation FROM document_pages") == [3]


def test_nobody_replaces_what_is_not_theirs(shelf: Shelf, ready: UUID) -> None:
    assert shelf.replace(ready, texts("theirs"), workspace_id=a_workspace(shelf.rails)) is None
    assert shelf.replace(uuid4(), texts("nobody's")) is None
    assert shelf.rails.document(ready)["state"] == "ready"


def test_a_deleted_document_gets_no_new_version(shelf: Shelf, ready: UUID) -> None:
    delete_document(ready, WORKSPACE, transactions=shelf.rails.transactions, blobs=shelf.blobs)

    assert shelf.replace(ready, texts("second edition")) is None


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["uploaded", "extracting", "indexing"])
def test_a_new_version_deleted_on_its_way_leaves_no_row_and_no_blob(shelf: Shelf, ready: UUID, steps: int) -> None:
    shelf.replace(ready, texts("second edition"))

    class Deleted(FakeEmbedder):
        def embed(self, given):
            if self.calls:
                delete_document(ready, WORKSPACE, transactions=shelf.rails.transactions, blobs=shelf.blobs)
            return super().embed(given)

    if steps:
        shelf.run(shelf.rails.document(ready)["job_id"])
    if steps == 2:
        shelf.embedder = Deleted()
        job_id = shelf.rails.document(ready)["job_id"]
        with pytest.raises(JobCancelledError):
            shelf.run(job_id)
        assert shelf.rails.ledger.cancel(job_id, lease_of(shelf.rails, job_id))
    else:
        delete_document(ready, WORKSPACE, transactions=shelf.rails.transactions, blobs=shelf.blobs)

    sweep_blobs(transactions=shelf.rails.transactions, blobs=shelf.blobs)
    assert shelf.leftovers() == {}
    assert shelf.blobs.blobs == {}
    assert shelf.rails.column("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == [0]


def test_what_a_waiting_job_had_reserved_is_free_as_soon_as_its_document_is_deleted(shelf: Shelf) -> None:
    document_id = shelf.receive(texts("first edition"))
    shelf.run(shelf.rails.document(document_id)["job_id"])
    job_id = shelf.rails.document(document_id)["job_id"]
    shelf.rails.connection.execute(
        "INSERT INTO token_reservations (id, workspace_id, job_id, tokens, expires_at)"
        " VALUES (gen_random_uuid(), %s, %s, 10, now() + interval '1 hour')",
        [WORKSPACE, job_id],
    )

    delete_document(document_id, WORKSPACE, transactions=shelf.rails.transactions, blobs=shelf.blobs)

    assert shelf.rails.count("token_reservations") == 0
    events = shelf.rails.column("SELECT event FROM job_events WHERE job_id = %s ORDER BY id", job_id)
    assert events == ["document.indexing", "cancelled", "document.deleted"]


def test_a_reindexing_and_a_new_version_at_the_same_time_end_in_one_job(shelf: Shelf, ready: UUID) -> None:
    with ThreadPoolExecutor(2) as threads:
        restarts = threads.submit(reindex_document, ready, WORKSPACE, transactions=shelf.rails.transactions)
        replaced = threads.submit(shelf.replace, ready, texts("second edition"))
    assert replaced.result().is_new
    restarts.result()

    shelf.run_all()

    assert shelf.rails.document(ready)["state"] == "ready"
    assert "second edition" in shelf.seen(ready)
