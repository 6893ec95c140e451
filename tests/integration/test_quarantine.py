"""A file that killed its parser twice is not parsed a third time, until the parser changes."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from domain.errors import FailureCode, PermanentError, TransientError
from domain.extraction import extract_document
from domain.ledger import Failure
from tests.builders import (
    WORKSPACE,
    FakeBlobs,
    FakeReader,
    Rails,
    a_workspace,
    an_uploaded_document,
    must_claim,
)

PAGES = ["one", "two", "three", "four", "five", "six"]
DEATHS = [FailureCode.PARSER_CRASHED, FailureCode.PARSE_MEMORY, FailureCode.PARSE_TIMEOUT]


def a_death(code: FailureCode = FailureCode.PARSER_CRASHED) -> PermanentError:
    return PermanentError(code, "The parser crashed (signal SIGSEGV) on page 5; repair the file.")


@dataclass
class Work:
    """A document and its extraction, attempt by attempt."""

    rails: Rails
    document_id: UUID
    job_id: UUID
    workspace_id: UUID = WORKSPACE

    def attempt(self, reader: FakeReader) -> None:
        lease = must_claim(self.rails, self.job_id).lease
        try:
            extract_document(
                self.document_id,
                self.workspace_id,
                lease=lease,
                transactions=self.rails.transactions,
                blobs=FakeBlobs({"w/blob": b"%PDF-"}),
                reader=reader,
            )
        except PermanentError as error:
            self.rails.ledger.fail(self.job_id, lease, Failure(error.code, error.message, error.code))
            raise
        except TransientError:
            self.rails.expire(self.job_id)
            self.rails.leases.rescue_expired()
            self.rails.connection.execute("UPDATE jobs SET crash_count = 0")
            raise

    @property
    def row(self) -> dict:
        return self.rails.document(self.document_id)


def work(rails: Rails, content: bytes = b"killer", *, workspace_id: UUID = WORKSPACE) -> Work:
    return Work(rails, *an_uploaded_document(rails, content, workspace_id=workspace_id), workspace_id)


def a_killer(code: FailureCode = FailureCode.PARSER_CRASHED, *, page: int = 5, version: str = "fake/1") -> FakeReader:
    return FakeReader(PAGES, stop_before=page, error=a_death(code), version=version)


def killed_twice(rails: Rails, **reader) -> Work:
    it = work(rails)
    with pytest.raises(TransientError):
        it.attempt(a_killer(**reader))
    with pytest.raises(PermanentError):
        it.attempt(a_killer(**reader))
    return it


@pytest.mark.parametrize("code", DEATHS)
def test_the_first_death_is_tried_again(rails: Rails, code: FailureCode) -> None:
    it = work(rails)

    with pytest.raises(TransientError) as caught:
        it.attempt(a_killer(code))

    assert (caught.value.code, caught.value.retry_after.total_seconds()) == (code, 1)
    assert it.row["state"] == "extracting"
    it.attempt(FakeReader(PAGES))
    assert it.row["state"] == "indexing", "it may have been the machine's fault"


@pytest.mark.parametrize("code", DEATHS)
def test_the_second_death_fails_the_document_with_the_readers_words(rails: Rails, code: FailureCode) -> None:
    it = killed_twice(rails, code=code)

    row = it.row
    assert (row["state"], row["failure_code"]) == ("failed", code)
    assert row["failure_message"] == f"{a_death().message} The first 4 pages were read."


def test_pages_before_the_death_stay(rails: Rails) -> None:
    killed_twice(rails)

    assert rails.column("SELECT text FROM document_pages ORDER BY number") == PAGES[:4]


def test_a_death_on_the_first_page_says_nothing_of_pages(rails: Rails) -> None:
    assert killed_twice(rails, page=1).row["failure_message"] == a_death().message


def test_a_death_resumes_at_the_page_it_died_on(rails: Rails) -> None:
    it, again = work(rails), a_killer()
    with pytest.raises(TransientError):
        it.attempt(a_killer())
    with pytest.raises(PermanentError):
        it.attempt(again)

    assert again.first_pages == [5]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same workspace", "another workspace"])
def test_a_quarantined_content_fails_at_once_without_a_parser(rails: Rails, elsewhere: bool) -> None:
    killed_twice(rails)
    twin = work(rails, workspace_id=a_workspace(rails) if elsewhere else WORKSPACE)
    reader = FakeReader(PAGES)

    with pytest.raises(PermanentError) as caught:
        twin.attempt(reader)

    assert reader.first_pages == []
    assert "did so 2 times and is not parsed again" in caught.value.message
    assert (twin.row["state"], twin.row["failure_code"]) == ("failed", "parser_crashed")


def test_other_content_is_read(rails: Rails) -> None:
    killed_twice(rails)
    other = work(rails, b"harmless")

    other.attempt(FakeReader(PAGES))

    assert other.row["state"] == "indexing"


def test_a_new_parser_releases_the_content(rails: Rails) -> None:
    killed_twice(rails)
    twin = work(rails)

    twin.attempt(FakeReader(PAGES, version="fake/2"))

    assert twin.row["state"] == "indexing"


def test_a_new_parser_is_quarantined_for_itself(rails: Rails) -> None:
    killed_twice(rails)
    twin = work(rails)

    with pytest.raises(TransientError):
        twin.attempt(a_killer(version="fake/2"))

    assert rails.column("SELECT deaths FROM parser_deaths ORDER BY parser_version") == [2, 1]


def test_deaths_of_the_same_content_add_up_over_documents(rails: Rails) -> None:
    first, second = work(rails), work(rails, workspace_id=a_workspace(rails))
    with pytest.raises(TransientError):
        first.attempt(a_killer())

    with pytest.raises(PermanentError):
        second.attempt(a_killer())


def test_a_first_death_is_forgotten_in_time(rails: Rails) -> None:
    first, second = work(rails), work(rails)
    with pytest.raises(TransientError):
        first.attempt(a_killer())
    first.attempt(FakeReader(PAGES))
    rails.connection.execute("UPDATE parser_deaths SET last_at = now() - interval '2 hours'")

    with pytest.raises(TransientError):
        second.attempt(a_killer())
    with pytest.raises(PermanentError):
        second.attempt(a_killer())


@pytest.mark.parametrize("code", [FailureCode.PDF_ENCRYPTED, FailureCode.PDF_DAMAGED, FailureCode.TOO_LARGE])
def test_a_refusal_is_no_death(rails: Rails, code: FailureCode) -> None:
    it = work(rails)

    with pytest.raises(PermanentError):
        it.attempt(a_killer(code))

    assert rails.count("parser_deaths") == 0


def test_a_stale_attempt_counts_no_death(rails: Rails) -> None:
    it = work(rails)

    class LosesItsLease(FakeReader):
        def read_pages(self, file: Path, *, first_page: int = 1):
            rails.expire(it.job_id)
            rails.leases.rescue_expired()
            yield from super().read_pages(file, first_page=first_page)

    with pytest.raises(Exception, match="is lost"):
        it.attempt(LosesItsLease(PAGES, stop_before=1, error=a_death()))

    assert rails.count("parser_deaths") == 0
    assert rails.job(it.job_id)["state"] == "retrying"
