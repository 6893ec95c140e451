"""A unit of work commits whole or not at all, and only for the attempt that holds the lease."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from time import sleep

import pytest

from adapters.postgres.pool import LazyPool, connect
from domain.documents import Document
from domain.errors import JobCancelledError, LeaseLostError, TransientError
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    Rails,
    a_batch,
    a_chunker,
    an_extracting_document,
    an_indexing_document,
    must_claim,
    start_extraction,
)


def test_what_an_attempt_wrote_is_gone_when_its_transaction_fails(rails: Rails) -> None:
    held = an_extracting_document(rails)

    with suppress(ZeroDivisionError), rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one"]))
        unit.jobs.enqueue("index_document", held.id, WORKSPACE)
        unit.jobs.finish()
        raise ZeroDivisionError

    assert rails.count("document_pages") == 0
    assert rails.count("jobs") == 1
    assert rails.job(held.lease.job_id)["state"] == "running"
    assert not held.lease.settled


def test_effect_and_end_commit_together(rails: Rails) -> None:
    held = an_extracting_document(rails)

    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one"]))
        unit.jobs.finish()

    assert rails.job(held.lease.job_id)["state"] == "succeeded"
    assert rails.count("document_pages") == 1
    assert held.lease.settled


def test_only_the_holder_of_a_lease_can_end_a_job(rails: Rails) -> None:
    with pytest.raises(LeaseLostError, match="holds the lease"), rails.transaction() as unit:
        unit.jobs.finish()


def test_options_that_the_address_names_are_kept_beside_ours(rails: Rails) -> None:
    named = "options=-csearch_path%3Delsewhere%20-cwork_mem%3D5MB"
    with connect(rails.url + ("&" if "?" in rails.url else "?") + named) as connection:
        row = connection.execute(
            "SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('lock_timeout')"
        ).fetchone()

    assert row == ("elsewhere", "5MB", "10s")


TERMINATE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s
"""

WRITES = {
    "pages": lambda unit, document: unit.pages.add(document, a_batch(["stale"])),
    "chunks": lambda unit, document: unit.chunks.replace(document, a_chunker().chunk_pages(a_batch(["stale"]).pages)),
    "state": lambda unit, document: unit.documents.publish(document, chunks=1, tokens=0),
    "usage": lambda unit, document: unit.usage.settle(document, batch=1, reserved=1, spent=1),
    "jobs": lambda unit, document: unit.jobs.enqueue("index_document", document.id, WORKSPACE),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_stale_attempt_can_write_nothing(rails: Rails, write) -> None:
    stale = an_extracting_document(rails)
    rails.expire(stale.lease.job_id)
    rails.leases.rescue_expired()
    start_extraction(rails, stale.id, stale.lease.job_id)
    before = rails.document(stale.id)

    with pytest.raises(LeaseLostError), rails.transaction(stale.lease) as unit:
        write(unit, stale.document)

    assert rails.document(stale.id) == before
    assert {name: rails.count(name) for name in ("document_pages", "chunks", "workspace_daily_usage", "jobs")} == {
        "document_pages": 0, "chunks": 0, "workspace_daily_usage": 0, "jobs": 1,
    }  # fmt: skip


def test_an_attempt_that_was_asked_to_stop_can_write_nothing(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.ledger.request_cancel(held.lease.job_id)

    with pytest.raises(JobCancelledError), rails.transaction(held.lease):
        pytest.fail("a cancelled attempt got in")


def test_a_failed_attempt_can_write_nothing(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.ledger.fail(held.lease.job_id, held.lease, A_FAILURE)

    with pytest.raises(LeaseLostError), rails.transaction(held.lease):
        pytest.fail("a failed attempt got in")


def test_a_job_is_not_cancelled_in_the_middle_of_a_transaction(rails: Rails) -> None:
    held = an_extracting_document(rails)

    with ThreadPoolExecutor(1) as thread:
        with rails.transaction(held.lease) as unit:
            asked = thread.submit(rails.ledger.request_cancel, held.lease.job_id)
            sleep(0.2)
            assert not asked.done()
            unit.jobs.finish()
        assert asked.result() is False

    assert rails.job(held.lease.job_id)["state"] == "succeeded"


def test_a_lost_connection_is_transient(own_rails: Rails) -> None:
    rails = own_rails

    def lose_the_connection() -> None:
        with rails.transaction() as unit:
            rails.connection.execute(TERMINATE_OTHERS, [rails.connection.info.backend_pid])
            unit.jobs.enqueue("extract_document", WORKSPACE, WORKSPACE)

    with pytest.raises(TransientError) as caught:
        lose_the_connection()

    assert caught.value.code == "database_unavailable"
    with rails.transaction() as unit:
        unit.jobs.enqueue("extract_document", WORKSPACE, WORKSPACE)
    assert rails.count("jobs") == 1


def test_a_job_takes_only_its_own_document(rails: Rails) -> None:
    held = an_indexing_document(rails)
    with rails.transaction() as unit:
        intruder = unit.jobs.enqueue("extract_document", held.id, WORKSPACE)
    claim = must_claim(rails, intruder)

    with rails.transaction(claim.lease) as unit:
        assert unit.documents.start_extraction(held.id, WORKSPACE, intruder) is None
        assert unit.documents.start_indexing(held.id, WORKSPACE, intruder) is None

    assert rails.document(held.id)["job_id"] == held.lease.job_id


def test_a_document_whose_job_has_ended_may_be_taken(rails: Rails) -> None:
    held = an_extracting_document(rails)
    with rails.transaction(held.lease) as unit:
        unit.jobs.finish()
    with rails.transaction() as unit:
        heir = unit.jobs.enqueue("extract_document", held.id, WORKSPACE)
    claim = must_claim(rails, heir)

    with rails.transaction(claim.lease) as unit:
        document = unit.documents.start_extraction(held.id, WORKSPACE, heir)

    assert isinstance(document, Document)
    assert document.job_id == heir


def test_a_document_of_another_workspace_is_not_there(rails: Rails) -> None:
    held = an_extracting_document(rails)
    elsewhere = held.id

    with rails.transaction(held.lease) as unit:
        assert unit.documents.start_extraction(held.id, elsewhere, held.lease.job_id) is None


def test_connections_that_died_in_the_pool_are_passed_over_at_once(database_url: str) -> None:
    pool = LazyPool(database_url, size=4, patience_seconds=3)
    with closing(pool), closing(connect(database_url)) as killer:
        with ExitStack() as stack:
            lent = [stack.enter_context(pool.connection()) for _ in range(4)]
            dying = [connection.info.backend_pid for connection in lent]
        for pid in dying:
            killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

        with pool.connection() as connection:
            assert connection.info.backend_pid not in dying
