"""Tasks over HTTP: one scale that never goes back, cancellation that wins, retries, and keys for repeated requests."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import FailureCode
from domain.jobs import SYSTEM_WORKSPACE
from domain.ledger import Failure, Outcome
from tests.api import Api, an_api
from tests.builders import (
    WORKSPACE,
    FakeEmbedder,
    Rails,
    a_batch,
    a_chunker,
    a_failed_document,
    a_pending_job,
    a_ready_document,
    a_retrying_job,
    a_running_job,
    an_extracting_document,
    an_uploaded_document,
    must_claim,
    start_extraction,
)

PDF = b"%PDF-1.7 the river"
KEY = f"{WORKSPACE}/x"


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url) as api:
        yield api


def task(api: Api, task_id: object) -> dict[str, Any]:
    answer = api.get(f"/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# One scale


def test_a_documents_task_goes_from_0_to_100_through_both_stages(api: Api, rails: Rails) -> None:
    from domain.indexing import Indexer, index_document

    document_id, task_id = an_uploaded_document(rails, blob_key=KEY)
    seen = [task(api, task_id)]
    held = start_extraction(rails, document_id, task_id)
    pages = [f"Page {number} tells of wheel {number}. " * 40 for number in range(4)]
    for first in (1, 3):
        with rails.transaction(held.lease) as unit:
            unit.pages.add(held.document, a_batch(pages[first - 1 : first + 1], first=first, page_count=4))
        seen.append(task(api, task_id))
    with rails.transaction(held.lease) as unit:
        index_id = unit.jobs.enqueue("index_document", document_id, WORKSPACE)
        unit.documents.finish_extraction(held.document, next_job_id=index_id, pages=1, warning=None)
        unit.jobs.finish()
    seen.append(task(api, task_id))
    claim = must_claim(rails, index_id)

    class Watched(FakeEmbedder):
        def embed(self, texts: Any) -> Any:
            seen.append(task(api, task_id))
            return super().embed(texts)

    index_document(document_id, WORKSPACE, lease=claim.lease, transactions=rails.transactions,
                   indexer=Indexer(a_chunker(), Watched()))  # fmt: skip
    seen.append(task(api, task_id))

    progress = [each["progress"] for each in seen]
    assert progress == sorted(progress)
    assert (progress[0], progress[1], progress[3], progress[-1]) == (0, 25, 50, 100)
    assert any(50 < each < 100 for each in progress)
    assert [each["status"] for each in seen[:2]] == ["pending", "processing"]
    assert {each["status"] for each in seen[2:-1]} == {"processing"}
    assert [each["stage"] for each in (seen[0], seen[-1])] == ["extract_document", "index_document"]
    done = seen[-1]
    assert (done["status"], done["result"]["document_id"]) == ("completed", str(document_id))
    assert done["result"]["chunk_count"] > 0
    assert [attempt["stage"] for attempt in done["attempts"]] == ["extract_document", "index_document"]


def test_the_id_of_the_second_job_shows_the_same_task(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, blob_key=KEY)
    first, second = (
        rails.row("SELECT id FROM jobs WHERE document_id = %s AND actor = %s", document_id, actor)["id"]
        for actor in ("extract_document", "index_document")
    )

    assert task(api, second) == task(api, first)
    assert [item["id"] for item in api.get("/tasks").json()["items"]] == [str(first)]


def test_progress_does_not_go_back_when_a_stage_begins_again(api: Api, rails: Rails) -> None:
    held = an_extracting_document(rails, blob_key=KEY)
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one", "two", "three"], page_count=4))
    assert task(api, held.lease.job_id)["progress"] == 37

    rails.connection.execute("UPDATE documents SET pages_done = 0 WHERE id = %s", [held.id])

    assert task(api, held.lease.job_id)["progress"] == 37


def test_a_failed_task_keeps_its_progress_after_it_was_retried(api: Api, rails: Rails) -> None:
    held = an_extracting_document(rails, blob_key=KEY)
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one"], page_count=2))
    rails.ledger.fail(held.lease.job_id, held.lease, Failure(FailureCode.PDF_DAMAGED, "It is damaged.", "f"))
    failed = task(api, held.lease.job_id)
    assert (failed["status"], failed["progress"]) == ("failed", 25)
    assert failed["error"] == {"code": "pdf_damaged", "message": "It is damaged."}

    retried = api.post(f"/tasks/{held.lease.job_id}/retry").json()["task_id"]

    assert task(api, held.lease.job_id)["progress"] == 25
    assert task(api, held.lease.job_id)["replaced_by"] == retried
    assert task(api, retried)["progress"] == 0


def test_what_a_bug_says_stays_inside(api: Api, rails: Rails) -> None:
    document_id = a_failed_document(rails, blob_key=KEY)
    task_id = rails.document(document_id)["job_id"]
    rails.connection.execute("UPDATE jobs SET failure_message = 'KeyError in /srv/inside.py'")

    assert "inside.py" not in api.get(f"/tasks/{task_id}").text


# Waiting


def test_a_waiting_request_answers_when_the_task_ends(api: Api, rails: Rails) -> None:
    claim = a_running_job(rails, workspace_id=WORKSPACE)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(api.get, f"/tasks/{claim.lease.job_id}?wait=20")
        time.sleep(0.4)
        assert not waiting.done()
        began = time.monotonic()
        rails.ledger.succeed(claim.lease)
        answer = waiting.result(10)

    assert time.monotonic() - began < 2
    assert (answer.json()["status"], answer.json()["progress"]) == ("completed", 100)
    assert "Retry-After" not in answer.headers


def test_waiting_ends_in_time_and_holds_no_connection(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url, api_database_pool_size=1, api_threads=2) as api:
        task_id = a_pending_job(rails, workspace_id=WORKSPACE)
        with ThreadPoolExecutor(20) as threads:
            began = time.monotonic()
            waiting = [threads.submit(api.get, f"/tasks/{task_id}/status?wait=2") for _ in range(15)]
            assert api.get("/documents").status_code == 200
            assert time.monotonic() - began < 1.5
            answers = [each.result(10) for each in waiting]
            took = time.monotonic() - began

    assert 1.9 < took < 4
    assert {(each.status_code, each.json()["status"]) for each in answers} == {(200, "pending")}
    assert all(each.headers["Retry-After"] for each in answers)


def test_one_waiting_request_too_many_is_answered_at_once(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url, api_most_waiting=1) as api:
        task_id = a_pending_job(rails, workspace_id=WORKSPACE)

        def seconds(_: int) -> float:
            began = time.monotonic()
            assert api.get(f"/tasks/{task_id}?wait=3").status_code == 200
            return time.monotonic() - began

        with ThreadPoolExecutor(2) as threads:
            at_once, waited = sorted(threads.map(seconds, range(2)))

    assert at_once < 2
    assert waited > 2.9


# Cancelling


def test_a_task_that_waits_is_cancelled_at_once(api: Api, rails: Rails) -> None:
    document_id, task_id = an_uploaded_document(rails, blob_key=KEY)

    answer = api.delete(f"/tasks/{task_id}")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert rails.document(document_id)["failure_code"] == "cancelled"
    assert api.post(f"/tasks/{task_id}/cancel").status_code == 200
    assert not rails.claim(task_id)


def test_a_task_that_runs_is_asked_to_stop_and_cannot_complete(api: Api, rails: Rails) -> None:
    held = an_extracting_document(rails, blob_key=KEY)

    answer = api.post(f"/tasks/{held.lease.job_id}/cancel")

    assert answer.status_code == 202
    assert task(api, held.lease.job_id)["cancel_requested"] is True
    assert not rails.ledger.succeed(held.lease)
    assert rails.ledger.cancel(held.lease.job_id, held.lease)
    assert task(api, held.lease.job_id)["status"] == "cancelled"


def test_a_task_in_its_second_job_is_cancelled_there(api: Api, rails: Rails) -> None:
    document_id, task_id = an_uploaded_document(rails, blob_key=KEY)
    held = start_extraction(rails, document_id, task_id)
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["The mill."]))
        index_id = unit.jobs.enqueue("index_document", document_id, WORKSPACE)
        unit.documents.finish_extraction(held.document, next_job_id=index_id, pages=1, warning=None)
        unit.jobs.finish()

    assert api.delete(f"/tasks/{task_id}").status_code == 200

    assert rails.job(index_id)["state"] == "cancelled"
    assert (task(api, task_id)["status"], task(api, task_id)["progress"]) == ("cancelled", 50)


def test_a_task_that_has_ended_cannot_be_cancelled(api: Api, rails: Rails) -> None:
    a_ready_document(rails, blob_key=KEY)
    a_failed_document(rails, content=b"2", blob_key=f"{WORKSPACE}/y")

    for item in api.get("/tasks").json()["items"]:
        answer = api.delete(f"/tasks/{item['id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


# Why, and lists


def test_one_reason_is_given(api: Api, rails: Rails) -> None:
    running = a_running_job(rails, workspace_id=WORKSPACE, queue="third")
    parked = a_running_job(rails, workspace_id=WORKSPACE, queue="other")
    retrying = a_retrying_job(rails, workspace_id=WORKSPACE)
    failure = Failure(FailureCode.BUDGET_EXCEEDED, "The budget is used up.", "f")
    rails.ledger.retry(parked.lease, parked.message, failure, delay=timedelta(hours=2), outcome=Outcome.PARKED)
    first = a_pending_job(rails, workspace_id=WORKSPACE)
    later = a_pending_job(rails, workspace_id=WORKSPACE, delay=timedelta(hours=1))

    def why(task_id: UUID) -> tuple[str, float | None]:
        answer = api.get(f"/tasks/{task_id}/why").json()
        return answer["reason"], answer["estimated_seconds"]

    assert why(first) == ("no_worker", None)
    assert rails.dispatch.lead()
    assert why(first)[0] == "about_to_run"
    assert why(later)[0] == "scheduled"
    assert 3500 < (why(later)[1] or 0) <= 3600
    assert why(retrying)[0] == "retrying"
    assert why(parked.lease.job_id)[0] == "parked"
    assert why(running.lease.job_id) == ("running", 0)


def test_a_task_behind_others_says_so_with_an_estimate(api: Api, rails: Rails) -> None:
    for _ in range(5):
        rails.ledger.succeed(a_running_job(rails, workspace_id=WORKSPACE).lease)
    rails.connection.execute("UPDATE jobs SET finished_at = finished_at - interval '5 seconds'")
    tasks = [a_pending_job(rails, workspace_id=WORKSPACE) for _ in range(4)]
    assert rails.dispatch.lead()

    answer = api.get(f"/tasks/{tasks[-1]}/why").json()

    assert answer["reason"] == "behind_others"
    assert answer["message"].startswith("3 other jobs")
    assert 3 < answer["estimated_seconds"] < 10


def test_tasks_are_filtered_and_walked(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, blob_key=KEY)
    a_failed_document(rails, content=b"2", blob_key=f"{WORKSPACE}/y")
    waiting = [a_pending_job(rails, workspace_id=WORKSPACE, name="send_mail") for _ in range(3)]

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"/tasks?{query}").json()["items"]]

    assert ids("kind=send_mail") == [str(each) for each in reversed(waiting)]
    assert len(ids("status=completed")) == len(ids("status=failed")) == 1
    assert len(ids("status=completed&status=failed")) == 2
    assert len(ids(f"document_id={document_id}")) == 1
    first = api.get("/tasks?limit=2").json()
    rest = api.get(f"/tasks?limit=200&cursor={first['next']}").json()
    assert len({item["id"] for item in first["items"] + rest["items"]}) == 5
    assert rest["next"] is None


def test_housekeeping_is_nobodys_task(api: Api, rails: Rails) -> None:
    job_id = a_pending_job(rails, workspace_id=SYSTEM_WORKSPACE)

    assert api.get(f"/tasks/{job_id}").status_code == 404
    assert api.get("/tasks").json()["items"] == []


def test_statistics_count_the_workspace(api: Api, rails: Rails) -> None:
    a_ready_document(rails, blob_key=KEY)
    a_pending_job(rails, workspace_id=WORKSPACE)
    a_running_job(rails, workspace_id=WORKSPACE, queue="other")

    stats = api.get("/stats").json()

    assert stats["jobs"] == {"pending": 1, "processing": 1, "completed": 1, "failed": 0}
    assert stats["queue"] == {"waiting": 1, "active": 1, "completed": 1, "failed": 0}
    assert stats["worker"] == {"status": "none"}


# Retrying


def test_a_task_that_cannot_be_retried_says_why(api: Api, rails: Rails) -> None:
    running = a_running_job(rails, workspace_id=WORKSPACE)

    answer = api.post(f"/tasks/{running.lease.job_id}/retry")

    assert answer.status_code == 409
    assert "running" in answer.json()["detail"]


# Idempotency-Key


def test_a_repeated_upload_has_one_effect_and_one_answer(api: Api, rails: Rails) -> None:
    headers = {"Idempotency-Key": '"upload-1"'}
    url = "/documents?copy=true"

    first = api.upload(PDF, path=url, headers=headers)
    second = api.upload(PDF, path=url, headers=headers | {"Idempotency-Key": "upload-1"})

    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (rails.count("documents"), rails.count("jobs")) == (1, 1)


def test_a_key_for_something_else_is_refused(api: Api, rails: Rails) -> None:
    headers = {"Idempotency-Key": "upload-2"}
    api.upload(PDF, headers=headers)

    for answer in (
        api.upload(PDF + b" other", headers=headers),
        api.upload(PDF, name="other.pdf", headers=headers),
        api.upload(PDF, path="/documents?copy=true", headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert rails.count("documents") == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    answer = api.upload(PDF, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_a_key_in_use_is_a_conflict_until_its_request_has_died(api: Api, rails: Rails) -> None:
    rails.connection.execute(
        "INSERT INTO idempotency_keys (workspace_id, operation, key, owner, busy_until)"
        " VALUES (%s, 'POST /documents', 'k', %s, now() + interval '1 minute')",
        [WORKSPACE, uuid4()],
    )
    busy = api.upload(PDF, headers={"Idempotency-Key": "k"})
    rails.connection.execute("UPDATE idempotency_keys SET busy_until = now()")
    free = api.upload(PDF, headers={"Idempotency-Key": "k"})

    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_key_in_use")
    assert free.status_code == 202


def test_a_refused_request_gives_its_key_back(api: Api, rails: Rails) -> None:
    headers = {"Idempotency-Key": "again"}

    assert api.upload(b"GIF89a", headers=headers).status_code == 415
    assert rails.count("idempotency_keys") == 0
    assert api.upload(PDF, headers=headers).status_code == 202


def test_many_requests_with_one_key_at_once_have_one_effect(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, blob_key=KEY)
    jobs = rails.count("jobs")

    def reindex(_: int) -> Any:
        return api.post(f"/documents/{document_id}/reindex", headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(reindex, range(16)))

    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["task_id"] for answer in answers if answer.status_code == 202}) == 1
    assert rails.count("jobs") == jobs + 1


def test_key_and_job_are_committed_together(api: Api, rails: Rails, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("the process dies here")

    monkeypatch.setattr("adapters.postgres.idempotency.RequestKey.remember", lost)

    assert api.upload(PDF, headers={"Idempotency-Key": "k"}).status_code == 500
    assert (rails.count("jobs"), rails.count("documents")) == (0, 0)


def test_a_request_that_lost_its_key_changes_nothing(api: Api, rails: Rails, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = a_ready_document(rails, blob_key=KEY)
    jobs = rails.count("jobs")
    monkeypatch.setattr("adapters.postgres.idempotency.RequestKey.begin", lambda *_: None)

    answer = api.post(f"/documents/{document_id}/reindex", headers={"Idempotency-Key": "k"})

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_use")
    assert rails.count("jobs") == jobs


def test_old_keys_are_forgotten(api: Api, rails: Rails) -> None:
    api.upload(PDF, headers={"Idempotency-Key": "old"})
    rails.connection.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")

    answer = api.upload(PDF + b" other", headers={"Idempotency-Key": "old"})
    api.upload(PDF + b" third", headers={"Idempotency-Key": "new"})

    assert answer.status_code == 202
    assert rails.count("idempotency_keys") == 2
