"""Pages arrive in batches, and a second attempt goes on where the first one stopped."""

from dataclasses import dataclass

import pytest

from domain.errors import FailureCode, LeaseLostError, PermanentError
from domain.extraction import ExtractionReport, extract_document
from tests.builders import (
    WORKSPACE,
    FakeBlobs,
    FakeReader,
    Rails,
    a_ready_document,
    an_uploaded_document,
    must_claim,
)

PAGES = ["one", "two", "three", "four", "five"]


@dataclass
class Uploaded:
    """An uploaded document; each `extract` is another attempt of its job."""

    rails: Rails
    document_id: object
    job_id: object
    blobs: FakeBlobs

    def extract(self, reader: FakeReader) -> ExtractionReport:
        self.lease = must_claim(self.rails, self.job_id).lease
        return extract_document(
            self.document_id,
            WORKSPACE,
            lease=self.lease,
            transactions=self.rails.transactions,
            blobs=self.blobs,
            reader=reader,
        )

    def crash(self) -> None:
        self.rails.expire(self.job_id)
        self.rails.leases.rescue_expired()

    @property
    def row(self) -> dict:
        return self.rails.document(self.document_id)

    @property
    def pages(self) -> list[str]:
        return self.rails.column("SELECT text FROM document_pages ORDER BY number")


@pytest.fixture
def uploaded(rails: Rails) -> Uploaded:
    return Uploaded(rails, *an_uploaded_document(rails), FakeBlobs({"w/blob": b"%PDF-"}))


def test_pages_are_stored_and_handed_on(rails: Rails, uploaded: Uploaded) -> None:
    report = uploaded.extract(FakeReader(PAGES))

    assert report == ExtractionReport(pages=5, characters=19)
    assert uploaded.pages == PAGES
    row = uploaded.row
    assert (row["state"], row["page_count"], row["pages_done"], row["warning"]) == ("indexing", 5, 5, None)
    assert rails.job(uploaded.job_id)["state"] == "succeeded"
    assert rails.job(row["job_id"])["actor"] == "index_document"


def test_a_second_attempt_reads_only_what_is_missing(uploaded: Uploaded) -> None:
    with pytest.raises(ConnectionError):
        uploaded.extract(FakeReader(PAGES, stop_before=3, error=ConnectionError()))
    assert uploaded.row["pages_done"] == 2
    uploaded.crash()

    reader = FakeReader(PAGES)
    report = uploaded.extract(reader)

    assert reader.first_pages == [3]
    assert report.resumed_after == 2
    assert uploaded.pages == PAGES


def test_an_attempt_that_died_after_the_last_page_reads_only_the_last_batch_again(uploaded: Uploaded) -> None:
    class DiesBeforeTheEnd(FakeReader):
        def read_pages(self, file, *, first_page=1):
            yield from super().read_pages(file, first_page=first_page)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        uploaded.extract(DiesBeforeTheEnd(PAGES))
    uploaded.crash()

    report = uploaded.extract(FakeReader(PAGES))

    assert (report.pages, report.resumed_after) == (5, 4)
    assert uploaded.row["state"] == "indexing"


def test_an_attempt_that_was_rescued_meanwhile_stores_no_page(rails: Rails, uploaded: Uploaded) -> None:
    class SleepsTooLong(FakeReader):
        def read_pages(self, file, *, first_page=1):
            for batch in super().read_pages(file, first_page=first_page):
                if batch.pages[0].number == 3:
                    uploaded.crash()
                yield batch

    with pytest.raises(LeaseLostError):
        uploaded.extract(SleepsTooLong(PAGES))

    assert uploaded.pages == PAGES[:2]
    assert rails.job(uploaded.job_id)["state"] == "retrying"


def test_a_document_without_text_is_not_handed_on(uploaded: Uploaded) -> None:
    with pytest.raises(PermanentError, match="OCR") as caught:
        uploaded.extract(FakeReader([" ", "\n"]))

    assert caught.value.code is FailureCode.PDF_NO_TEXT
    assert uploaded.row["state"] == "extracting"


def test_lost_pages_are_named(uploaded: Uploaded) -> None:
    with pytest.raises(PermanentError, match=r"page 4 of 5 could not be read") as caught:
        uploaded.extract(FakeReader(PAGES, lost=frozenset({4})))

    assert caught.value.code is FailureCode.PDF_DAMAGED


def test_a_mended_file_is_marked(uploaded: Uploaded) -> None:
    uploaded.extract(FakeReader(PAGES, repaired=True))

    assert "repaired" in uploaded.row["warning"]


def test_a_missing_blob_is_permanent(uploaded: Uploaded) -> None:
    uploaded.blobs.blobs.clear()

    with pytest.raises(PermanentError) as caught:
        uploaded.extract(FakeReader(PAGES))

    assert caught.value.code is FailureCode.BLOB_MISSING


def test_a_job_for_a_document_that_is_done_does_nothing(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    before = rails.document(document_id)
    with rails.transaction() as unit:
        job_id = unit.jobs.enqueue("extract_document", document_id, WORKSPACE)
    late = Uploaded(rails, document_id, job_id, FakeBlobs())

    assert late.extract(FakeReader(PAGES)).skipped

    assert rails.document(document_id) == before
    assert rails.job(job_id)["state"] == "succeeded"
