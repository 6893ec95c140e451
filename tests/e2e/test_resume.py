"""Interrupted work goes on where it stopped, and stops where it is cancelled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic, sleep
from uuid import UUID

import pytest

from tests.builders import a_pdf
from tests.conftest import _new_database, short_folder
from tests.e2e.conftest import IMPATIENT, Site, a_site
from tests.embeddings_server import EmbeddingsServer
from tests.workers import Workers, running_workers

PAGES = 1000
INPUTS = 8


@pytest.fixture
def site(postgres_url: str, template_database: str, redis_url: str) -> Iterator[Site]:
    with (
        short_folder() as folder,
        _new_database(postgres_url, template_database) as url,
        a_site(folder, database_url=url, redis_url=redis_url) as site,
    ):
        (folder / "crash-tokens").mkdir()
        yield site


def crash_at(site: Site, point: str) -> Path:
    token = site.folder / "crash-tokens" / point
    token.touch()
    return token


def a_book(pages: int, *, lines: int) -> bytes:
    texts = ("\n".join(f"Page {n}, line {line}: wheel {n * 100 + line} turns." for line in range(lines))
             for n in range(1, pages + 1))  # fmt: skip
    return a_pdf(*texts)


def running(site: Site, **more: str) -> AbstractContextManager[Workers]:
    environment = site.environment | IMPATIENT | {"CRASH_TOKENS": str(site.folder / "crash-tokens")} | more
    return running_workers(environment, processes=1, threads=2, restart=True)


def job_of(site: Site, actor: str) -> UUID:
    return site.rails.column("SELECT id FROM jobs WHERE actor = %s", actor)[0]


def test_a_long_document_interrupted_in_the_middle_goes_on_at_the_first_missing_page(site: Site) -> None:
    with running(site) as workers:
        document_id = site.upload(a_book(PAGES, lines=40)).document_id
        site.wait_until(lambda: site.rails.count("document_pages") > PAGES // 2, 30)
        token = crash_at(site, "after_page_batch")
        site.wait_until(lambda: not token.exists(), 20)
        stored = site.rails.count("document_pages")

        assert site.wait_for_documents(document_id, seconds=60) == ["ready"]
        log = workers.log

    assert PAGES // 2 < stored < PAGES
    assert f'"resumed_after": {stored}, "pages": {PAGES}' in log
    assert site.rails.column("SELECT number FROM document_pages ORDER BY number") == list(range(1, PAGES + 1))
    assert site.rails.attempts(job_of(site, "extract_document")) == ["crashed", "succeeded"]


@pytest.mark.parametrize(
    ("point", "paid_twice"), [("after_storing_vectors", 0), ("after_embedding_before_storing", INPUTS)]
)
def test_an_indexing_that_crashed_pays_for_no_stored_batch_again(site: Site, point: str, paid_twice: int) -> None:
    with EmbeddingsServer(dimensions=16) as server:
        server.seconds_per_request = 0.1
        provider = {
            "EMBEDDING_PROVIDER": "openai",
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "sk-test",
            "EMBEDDING_MODEL": "fake",
            "EMBEDDING_DIMENSIONS": "16",
            "EMBEDDING_INPUTS_PER_REQUEST": str(INPUTS),
            "EMBEDDING_REQUESTS_AT_A_TIME": "1",
            "CHUNK_TOKENS": "64",
            "CHUNK_OVERLAP_TOKENS": "0",
        }
        with running(site, **provider):
            document_id = site.upload(a_book(12, lines=20)).document_id
            site.wait_until(lambda: len(server.requests) >= 3, 30)
            token = crash_at(site, point)
            site.wait_until(lambda: not token.exists(), 20)
            vectors = site.rails.count("chunk_embeddings")

            assert site.wait_for_documents(document_id, seconds=40) == ["ready"]

        sent = [text for request in server.requests for text in request.texts]

    assert vectors >= 2 * INPUTS, "several batches were stored before the crash"
    assert len(sent) - len(set(sent)) == paid_twice
    assert site.rails.attempts(job_of(site, "extract_document")) == ["crashed", "succeeded"]
    assert site.rails.attempts(job_of(site, "index_document")) == ["succeeded"]
    assert len(set(sent)) == site.rails.count("chunk_embeddings")


def test_a_running_extraction_is_cancelled_within_seconds_and_its_parser_is_gone(site: Site) -> None:
    with running(site) as workers:
        idle = len(workers.processes())
        document_id = site.upload(a_book(2 * PAGES, lines=40)).document_id
        site.wait_until(lambda: site.rails.count("document_pages") > 0, 30)
        assert len(workers.processes()) > idle, "the parser runs"

        asked_at = monotonic()
        assert site.producer.ledger.request_cancel(job_of(site, "extract_document"))
        assert site.wait_for_documents(document_id, seconds=5) == ["failed"]
        took = monotonic() - asked_at
        workers.wait_until(lambda: len(workers.processes()) == idle, seconds=3)
        pages = site.rails.count("document_pages")
        sleep(1)

        assert took < 3
        assert site.rails.count("document_pages") == pages < 2 * PAGES
        assert site.rails.document(document_id)["failure_code"] == "cancelled"
        job_id = job_of(site, "extract_document")
        assert (site.rails.job(job_id)["state"], site.rails.attempts(job_id)) == ("cancelled", ["cancelled"])

        verdict = site.producer.retry_job(job_id)
        assert verdict.new_job_id
        site.producer.delete_document(document_id, site.rails.document(document_id)["workspace_id"])


def test_a_shutdown_hands_a_running_job_back_at_once_and_burns_no_attempt(site: Site) -> None:
    with running(site) as workers:
        document_id = site.upload(a_book(6 * PAGES, lines=40)).document_id
        site.wait_until(lambda: site.rails.count("document_pages") > 0, 30)

        assert workers.terminate(seconds=15) == 0

        job = site.rails.job(job_of(site, "extract_document"))
        stored = site.rails.count("document_pages")
    assert (job["state"], job["attempt"], job["crash_count"]) == ("retrying", 0, 0)
    assert 0 < stored < 6 * PAGES

    with running(site) as workers:
        assert site.wait_for_documents(document_id, seconds=60) == ["ready"]
        log = workers.log

    assert f'"resumed_after": {stored}' in log
    assert site.rails.attempts(job_of(site, "extract_document")) == ["interrupted", "succeeded"]
