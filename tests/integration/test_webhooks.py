"""From a change of state to a message at a real receiver, through the ledger."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from standardwebhooks import Webhook

from adapters.bootstrap import Webhooks, make_retention, make_webhooks
from adapters.postgres.pool import connect
from adapters.postgres.tenancy import WorkspacePool
from adapters.postgres.webhooks import DeliveryFilter, PostgresDeliveries
from adapters.settings import Settings
from adapters.webhooks.http import HttpSender
from domain.errors import InvalidWebhookError, ParkedError, PermanentError, TransientError
from domain.housekeeping import prune_history
from domain.jobs import SYSTEM_WORKSPACE, Lease
from domain.ledger import Claim, Outcome
from domain.webhook_delivery import ATTEMPTS, IN_FLIGHT, RETRY_AFTER, DeliveryReport, Result, deliver_webhook
from domain.webhooks import DeliveryState, TargetPolicy
from middleware.failures import describe
from tests.builders import (
    WORKSPACE,
    Rails,
    a_cancelled_job,
    a_failed_document,
    a_failed_job,
    a_ready_document,
    a_running_job,
    a_succeeded_job,
    a_workspace,
    must_claim,
)
from tests.integration.test_races import meanwhile
from tests.webhook_receiver import Manner, Receiver, Seen

DISABLE_AFTER = timedelta(days=5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def webhooks(rails: Rails) -> Webhooks:
    return make_webhooks(settings(), rails.pool)


def settings(**changed: Any) -> Settings:
    known = {"database_url": "postgresql://x", "redis_url": "redis://x", "webhooks_allow_private": True}
    return Settings(_env_file=None, **known | changed)


def listen(webhooks: Webhooks, url: str, *events: str, workspace_id: UUID = WORKSPACE) -> tuple[UUID, str]:
    """Add an endpoint; return its id and its secret."""
    endpoint, secret = webhooks.create_endpoint(workspace_id, url, events)
    return endpoint.id, secret


def attempt(rails: Rails, lease: Lease, **changed: Any) -> DeliveryReport:
    """Do the actor's work for a claimed job."""
    job = rails.job(lease.job_id)
    kwargs = {name: UUID(value) for name, value in job["message"]["kwargs"].items()}
    ports = {
        "deliveries": PostgresDeliveries(rails.pool),
        "sender": HttpSender(TargetPolicy(allow_private=True), timeout_seconds=10),
        "disable_after": DISABLE_AFTER,
    }
    return deliver_webhook(**kwargs, lease=lease, **ports | changed)


def deliver_all(rails: Rails) -> list[DeliveryReport]:
    """Run every webhook job that waits, once, and end it as the middleware would."""
    waiting = "SELECT id FROM jobs WHERE queue = 'webhooks' AND state IN ('pending', 'retrying', 'queued') ORDER BY id"
    return [deliver(rails, job_id) for job_id in rails.column(waiting)]


def deliver(rails: Rails, job_id: UUID) -> DeliveryReport:
    claim = must_claim(rails, job_id)
    report = attempt(rails, claim.lease)
    if isinstance(report.error, PermanentError):
        assert rails.ledger.fail(job_id, claim.lease, describe(report.error))
    elif isinstance(report.error, TransientError):
        assert report.error.retry_after is not None
        failure, delay = describe(report.error), report.error.retry_after
        assert rails.ledger.retry(claim.lease, claim.message, failure, delay=delay, outcome=Outcome.RETRYING)
        wake_endpoints(rails)
    elif not claim.lease.settled:
        assert rails.ledger.succeed(claim.lease)
    return report


def wake_endpoints(rails: Rails) -> None:
    """Let the time pass for which failing endpoints are left alone."""
    rails.connection.execute("UPDATE webhook_endpoints SET paused_until = now()")


def deliveries(rails: Rails, columns: str = "event, state, attempts") -> list[tuple]:
    return rails.connection.execute(f"SELECT {columns} FROM webhook_deliveries ORDER BY created_at, event").fetchall()


def events(requests: list[Seen]) -> list[str]:
    return sorted(json.loads(request.body)["type"] for request in requests)


# Which change tells whom of what


def test_a_document_that_becomes_ready_is_told_with_its_task(rails: Rails, webhooks: Webhooks) -> None:
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")

    document_id = a_ready_document(rails)

    rows = rails.connection.execute("SELECT event, data FROM webhook_deliveries ORDER BY event").fetchall()
    task_id = rails.column("SELECT id FROM jobs WHERE actor = 'extract_document'")[0]
    ids = {"document_id": str(document_id), "workspace_id": str(WORKSPACE)}
    assert rows == [
        ("document.ready", ids | {"state": "ready", "generation": 1}),
        ("task.completed", ids | {"task_id": str(task_id), "actor": "index_document", "status": "completed"}),
    ]
    assert rails.column("SELECT DISTINCT endpoint_id FROM webhook_deliveries") == [endpoint_id]


def test_a_document_that_fails_is_told_with_its_task(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")

    a_failed_document(rails)

    told = rails.connection.execute(
        "SELECT event, data ->> 'failure_code' FROM webhook_deliveries ORDER BY event"
    ).fetchall()
    assert told == [("document.failed", "internal_error"), ("task.failed", "internal_error")]


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (a_succeeded_job, ["task.completed"]),
        (a_failed_job, ["task.failed"]),
        (a_cancelled_job, []),
        (a_running_job, []),
    ],
)
def test_a_job_of_a_workspace_is_told_when_it_has_ended_by_itself(
    rails: Rails, webhooks: Webhooks, build, told: list[str]
) -> None:
    listen(webhooks, "http://127.0.0.1:1/")

    build(rails, workspace_id=WORKSPACE)

    assert [row[0] for row in deliveries(rails)] == told


def test_jobs_of_the_system_are_no_news(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")

    a_succeeded_job(rails, workspace_id=SYSTEM_WORKSPACE)

    assert deliveries(rails) == []


def test_a_rescued_job_that_crashed_too_often_is_told(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/", "task.failed")
    job_id = a_running_job(rails, workspace_id=WORKSPACE).lease.job_id
    for _ in range(2):
        rails.expire(job_id)
        rails.leases.rescue_expired()
        if rails.job(job_id)["state"] != "failed":
            must_claim(rails, job_id)

    assert deliveries(rails, "event, data ->> 'failure_code'") == [("task.failed", "worker_crashed")]


def test_only_who_wants_an_event_hears_of_it(rails: Rails, webhooks: Webhooks) -> None:
    wants, _ = listen(webhooks, "http://127.0.0.1:1/", "task.completed", "task.failed")
    listen(webhooks, "http://127.0.0.1:1/", "document.ready")
    disabled, _ = listen(webhooks, "http://127.0.0.1:1/")
    webhooks.endpoints.disable(disabled, WORKSPACE, "enough")
    listen(webhooks, "http://127.0.0.1:1/", workspace_id=a_workspace(rails))

    a_succeeded_job(rails, workspace_id=WORKSPACE)

    assert rails.column("SELECT endpoint_id FROM webhook_deliveries") == [wants]


def test_a_change_that_is_rolled_back_is_never_told(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    claim = a_running_job(rails, workspace_id=WORKSPACE)

    def finish_in_vain() -> None:
        with rails.transaction(claim.lease) as unit:
            unit.jobs.finish()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish_in_vain()

    assert (rails.count("webhook_deliveries"), rails.column("SELECT id FROM jobs")) == (0, [claim.lease.job_id])


def test_a_change_is_told_once_and_its_job_has_the_message_that_sending_would_write(
    rails: Rails, webhooks: Webhooks
) -> None:
    from adapters.postgres.jobs import message_job

    listen(webhooks, "http://127.0.0.1:1/")
    job_id = a_succeeded_job(rails, workspace_id=WORKSPACE)
    rails.connection.execute("UPDATE jobs SET state = 'succeeded' WHERE id = %s", [job_id])

    (delivery,) = rails.connection.execute("SELECT id, job_id FROM webhook_deliveries").fetchall()
    job = rails.job(delivery[1])
    assert message_job(job["message"]).message == job["message"]
    assert job["message"]["kwargs"] == {"delivery_id": str(delivery[0]), "workspace_id": str(WORKSPACE)}
    assert (job["queue"], job["actor"], job["workspace_id"]) == ("webhooks", "deliver_webhook", WORKSPACE)


def test_everyone_who_hears_of_an_event_gets_it_under_the_same_id(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/a")
    listen(webhooks, "http://127.0.0.1:1/b")

    a_succeeded_job(rails, workspace_id=WORKSPACE)

    assert rails.count("webhook_deliveries") == 2
    assert len(set(rails.column("SELECT event_id FROM webhook_deliveries"))) == 1


def test_what_is_too_much_for_an_endpoint_is_kept_and_can_be_replayed(rails: Rails, webhooks: Webhooks) -> None:
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")
    rails.connection.execute("UPDATE webhook_endpoints SET max_pending = 2")

    for _ in range(4):
        a_succeeded_job(rails, workspace_id=WORKSPACE)

    states = rails.column("SELECT state FROM webhook_deliveries ORDER BY created_at")
    assert states == ["pending", "pending", "discarded", "discarded"]
    assert rails.column("SELECT count(*) FROM jobs WHERE queue = 'webhooks'") == [2]
    which = DeliveryFilter(endpoint_id=endpoint_id, states=(DeliveryState.DISCARDED,))
    assert len(webhooks.search.replay(WORKSPACE, which)) == 2
    assert rails.column("SELECT count(*) FROM jobs WHERE queue = 'webhooks'") == [4]


# Delivery


def test_a_message_arrives_signed(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    endpoint_id, secret = listen(webhooks, receiver.url)
    job_id = a_succeeded_job(rails, workspace_id=WORKSPACE)

    (report,) = deliver_all(rails)

    (request,) = receiver.requests
    message = Webhook(secret).verify(request.body, dict(request.headers))
    assert (message["type"], message["data"]["task_id"]) == ("task.completed", str(job_id))
    assert message.keys() == {"type", "timestamp", "data"}
    assert (report.result, report.attempt, report.status) == (Result.DELIVERED, 1, 204)
    assert deliveries(rails) == [("task.completed", "delivered", 1)]
    assert rails.row("SELECT state FROM jobs WHERE queue = 'webhooks'")["state"] == "succeeded"
    endpoint = webhooks.search.endpoint(endpoint_id, WORKSPACE)
    assert endpoint is not None
    assert (endpoint["failures"], endpoint["pending"], endpoint["delivered_at"] is not None) == (0, 0, True)


def test_telling_is_not_told(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    deliver_all(rails)

    assert rails.count("webhook_deliveries") == 1


def test_retries_have_the_same_id_and_body_and_wait_as_the_schedule_says(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    _, secret = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(500)
    receiver.then(manner=Manner.CLOSED)

    waits = [deliver_all(rails)[0].error for _ in range(3)]

    assert [error.retry_after for error in waits if isinstance(error, TransientError)] == list(RETRY_AFTER[:2])
    assert len(receiver.requests) == 3
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    for request in receiver.requests:
        Webhook(secret).verify(request.body, dict(request.headers))
    assert deliveries(rails, "state, attempts, error") == [("delivered", 3, None)]
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    assert rails.attempts(job_id) == ["retrying", "retrying", "succeeded"]


@pytest.mark.parametrize(("asked", "wait"), [("1", 5), ("90", 90), ("999999", 86400)])
def test_a_receiver_may_say_when_within_bounds(
    rails: Rails, webhooks: Webhooks, receiver: Receiver, asked: str, wait: int
) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(429, {"retry-after": asked})

    (report,) = deliver_all(rails)

    assert isinstance(report.error, TransientError)
    assert report.error.retry_after == timedelta(seconds=wait)


def test_after_the_last_attempt_the_delivery_is_a_dead_letter(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(500, times=ATTEMPTS)

    reports = [deliver_all(rails)[0] for _ in range(ATTEMPTS)]

    assert [isinstance(report.error, PermanentError) for report in reports] == [False] * (ATTEMPTS - 1) + [True]
    assert deliveries(rails, "state, attempts, status, error") == [("failed", ATTEMPTS, 500, "It answered 500.")]
    job = rails.row("SELECT state, failure_code FROM jobs WHERE queue = 'webhooks'")
    assert job == {"state": "failed", "failure_code": "webhook_failed"}


def test_gone_disables_the_endpoint_and_says_so(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    endpoint_id, _ = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(410)

    (report,) = deliver_all(rails)
    a_succeeded_job(rails, workspace_id=WORKSPACE)

    assert report.disabled == "It answered 410 Gone."
    assert deliveries(rails) == [("task.completed", "failed", 1)]
    endpoint = webhooks.search.endpoint(endpoint_id, WORKSPACE)
    assert endpoint is not None
    assert endpoint["disabled_reason"] == "It answered 410 Gone."
    event = rails.row("SELECT workspace_id, data FROM job_events WHERE event = 'webhook_disabled'")
    assert event == {
        "workspace_id": WORKSPACE,
        "data": {"endpoint_id": str(endpoint_id), "reason": "It answered 410 Gone."},
    }


def test_an_endpoint_that_fails_for_days_is_disabled(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    endpoint_id, _ = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(503, times=3)

    assert deliver_all(rails)[0].disabled is None
    rails.connection.execute("UPDATE webhook_endpoints SET failing_since = now() - %s", [DISABLE_AFTER * 0.99])
    assert deliver_all(rails)[0].disabled is None
    rails.connection.execute("UPDATE webhook_endpoints SET failing_since = now() - %s", [DISABLE_AFTER])
    report = deliver_all(rails)[0]

    assert report.disabled == "Every attempt of the last 5 days failed; the last error: It answered 503."
    endpoint = webhooks.search.endpoint(endpoint_id, WORKSPACE)
    assert endpoint is not None
    assert endpoint["disabled_reason"] == report.disabled
    assert rails.column("SELECT count(*) FROM job_events WHERE event = 'webhook_disabled'") == [1]


def test_a_success_that_comes_meanwhile_keeps_the_endpoint(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    rails.connection.execute(
        "UPDATE webhook_endpoints SET failures = 9, failing_since = now() - %s", [DISABLE_AFTER * 2]
    )
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    lease = must_claim(rails, job_id).lease
    receiver.then(503)

    with ExitStack() as after:
        with connect(rails.url) as other, other.transaction():
            other.execute("UPDATE webhook_endpoints SET failures = 0, failing_since = NULL")
            attempted = after.enter_context(meanwhile(lambda: attempt(rails, lease)))
        report = attempted.result()

    assert (report.status, report.disabled) == (503, None)
    assert rails.row("SELECT failures, disabled_at FROM webhook_endpoints") == {"failures": 1, "disabled_at": None}


def test_one_success_makes_an_endpoint_well_again(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(503)
    deliver_all(rails)
    rails.connection.execute("UPDATE webhook_endpoints SET failing_since = now() - %s", [DISABLE_AFTER * 2])

    deliver_all(rails)

    health = rails.row("SELECT failures, failing_since, disabled_at FROM webhook_endpoints")
    assert health == {"failures": 0, "failing_since": None, "disabled_at": None}


def test_what_waits_for_a_disabled_endpoint_is_discarded_unsent(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    endpoint_id, _ = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    webhooks.endpoints.disable(endpoint_id, WORKSPACE, "by hand")

    (report,) = deliver_all(rails)

    assert report.result is Result.DISCARDED
    assert receiver.requests == []
    assert deliveries(rails, "state, error") == [("discarded", "The endpoint is disabled.")]
    assert rails.row("SELECT state FROM jobs WHERE queue = 'webhooks'")["state"] == "succeeded"


def test_a_forbidden_target_fails_at_once(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    """The endpoint was added while private targets were allowed, or its name leads elsewhere now."""
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")

    report = attempt(rails, must_claim(rails, job_id).lease, sender=HttpSender(TargetPolicy(), timeout_seconds=10))

    assert report.result is Result.FORBIDDEN
    assert isinstance(report.error, PermanentError)
    assert receiver.connections == 0
    assert deliveries(rails) == [("task.completed", "failed", 1)]


def test_deleting_an_endpoint_ends_what_waits_for_it(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    endpoint_id, _ = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)

    assert webhooks.endpoints.delete(endpoint_id, WORKSPACE)
    (report,) = deliver_all(rails)

    assert report.result is Result.OBSOLETE
    assert receiver.requests == []
    assert [rails.count(f"webhook_{table}") for table in ("endpoints", "secrets", "deliveries")] == [0, 0, 0]


def test_a_worker_that_dies_after_sending_sends_the_same_message_again(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    dead = must_claim(rails, job_id).lease
    deliveries_port = PostgresDeliveries(rails.pool)

    class DiesAfterwards(HttpSender):
        def send(self, *message):
            super().send(*message)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(rails, dead, sender=DiesAfterwards(TargetPolicy(allow_private=True), timeout_seconds=10))
    rails.expire(job_id)
    rails.leases.rescue_expired()
    deliver_all(rails)

    assert len(receiver.requests) == 2
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    assert deliveries(rails) == [("task.completed", "delivered", 1)]
    assert deliveries_port.begin(rails.column("SELECT id FROM webhook_deliveries")[0], WORKSPACE,
                                 a_running_job(rails).lease) is None  # fmt: skip


def test_an_attempt_that_is_written_twice_counts_once(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    """The answer to a commit can be lost, so that it is tried again."""

    class WritesTwice(PostgresDeliveries):
        def fail(self, *given, **more):
            super().fail(*given, **more)
            return super().fail(*given, **more)

    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(500)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")

    attempt(rails, must_claim(rails, job_id).lease, deliveries=WritesTwice(rails.pool))

    assert deliveries(rails) == [("task.completed", "pending", 1)]
    assert rails.column("SELECT failures FROM webhook_endpoints") == [1]


def test_a_job_that_ends_badly_elsewhere_takes_its_delivery_along(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    for _ in range(2):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    cancelled, failed = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")

    rails.ledger.request_cancel(cancelled)
    claim = must_claim(rails, failed)
    rails.ledger.fail(failed, claim.lease, describe(ValueError("a bug")))

    states = dict(rails.connection.execute("SELECT job_id, state FROM webhook_deliveries").fetchall())
    assert states == {cancelled: "failed", failed: "failed"}
    assert all(rails.column("SELECT error FROM webhook_deliveries"))


# One endpoint does not take all the threads


def test_a_failing_endpoint_is_left_alone_by_all_its_deliveries(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    for _ in range(2):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    first, second = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks' ORDER BY id")
    receiver.then(500)

    attempt(rails, must_claim(rails, first).lease)
    with pytest.raises(ParkedError) as parked:
        attempt(rails, must_claim(rails, second).lease)

    assert timedelta(seconds=1) <= parked.value.retry_after < timedelta(seconds=5)
    assert len(receiver.requests) == 1
    assert sorted(rails.column("SELECT attempts FROM webhook_deliveries")) == [0, 1]


def test_pauses_grow_with_every_failure_up_to_five_minutes(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    pauses = []
    for failures in (0, 1, 5, 1000):
        receiver.then(500)
        rails.connection.execute(
            "UPDATE webhook_endpoints SET failures = %s, failing_since = CASE WHEN %s > 0 THEN now() END,"
            " paused_until = NULL", [failures, failures],
        )  # fmt: skip
        claim = must_claim(rails, job_id)
        attempt(rails, claim.lease)
        pauses.append(rails.column("SELECT round(extract(epoch FROM paused_until - now())) FROM webhook_endpoints")[0])
        failure = describe(ValueError("a bug"))
        rails.ledger.retry(claim.lease, claim.message, failure, delay=timedelta(), outcome=Outcome.RETRYING)

    assert pauses == [2, 4, 64, 300]


def test_the_longer_an_endpoint_fails_the_longer_its_deliveries_wait(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    waits = []
    for hours in (0, 1, 8, 100):
        rails.connection.execute(
            "UPDATE webhook_endpoints SET failures = 9, failing_since = now() - make_interval(hours => %s),"
            " paused_until = now() + interval '1 minute'", [hours],
        )  # fmt: skip
        claim = must_claim(rails, job_id)
        with pytest.raises(ParkedError) as parked:
            attempt(rails, claim.lease)
        waits.append(parked.value.retry_after)
        park(rails, claim, parked.value)

    for wait, least in zip(waits, (timedelta(seconds=59), *(timedelta(hours=x) for x in (0.25, 2, 4))), strict=True):
        assert least <= wait <= least * 1.3


def test_a_success_calls_the_oldest_that_wait_and_were_never_attempted(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    listen(webhooks, receiver.url)
    for _ in range(5):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    first, refused, *waiting = rails.column("SELECT job_id FROM webhook_deliveries ORDER BY created_at")
    receiver.then(500)
    deliver(rails, refused)
    rails.connection.execute("UPDATE webhook_endpoints SET paused_until = now() + interval '1 minute'")
    for job_id in waiting:
        claim = must_claim(rails, job_id)
        with pytest.raises(ParkedError) as parked:
            attempt(rails, claim.lease)
        park(rails, claim, parked.value)
    due = "SELECT id FROM jobs WHERE queue = 'webhooks' AND state = 'retrying' AND available_at <= now()"
    rails.connection.execute(
        "UPDATE jobs SET state = 'retrying', available_at = now() + interval '1 hour' WHERE queue = 'webhooks'"
        " AND id <> %s", [first],
    )  # fmt: skip

    wake_endpoints(rails)
    assert rails.column(due) == []
    claim = rails.claim(first) or rails.claim(rails.ring()[0])
    assert claim is not None
    attempt(rails, claim.lease)

    assert set(rails.column(due)) == set(waiting[:2])


def park(rails: Rails, claim: Claim, error: ParkedError) -> None:
    """Do the middleware's work for a parked attempt."""
    assert error.retry_after is not None
    rails.ledger.retry(claim.lease, claim.message, describe(error), delay=error.retry_after, outcome=Outcome.PARKED)


def test_few_attempts_run_at_a_time_for_one_endpoint(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    listen(webhooks, receiver.url)
    for _ in range(IN_FLIGHT + 2):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    leases = [
        must_claim(rails, job_id).lease for job_id in rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    ]

    outcomes = []
    for lease in sorted(leases, key=lambda lease: lease.job_id.bytes, reverse=True):
        try:
            outcomes.append(attempt(rails, lease).result)
        except ParkedError:
            outcomes.append(None)

    assert outcomes == [None, None] + [Result.DELIVERED] * IN_FLIGHT


# Secrets


def test_a_rotated_secret_signs_beside_the_old_one_until_the_grace_is_over(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    endpoint_id, old = listen(webhooks, receiver.url)
    new = webhooks.rotate_secret(endpoint_id, WORKSPACE)
    assert new is not None
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    deliver_all(rails)
    rails.connection.execute("UPDATE webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    deliver_all(rails)

    during, after = receiver.requests
    for secret in (old, new):
        Webhook(secret).verify(during.body, dict(during.headers))
    Webhook(new).verify(after.body, dict(after.headers))
    assert len(during.headers["webhook-signature"].split()) == 2
    assert len(after.headers["webhook-signature"].split()) == 1


def test_rotating_again_and_again_keeps_few_secrets(rails: Rails, webhooks: Webhooks) -> None:
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")

    newest = [webhooks.rotate_secret(endpoint_id, WORKSPACE) for _ in range(5)][-1]

    assert rails.count("webhook_secrets") == 3
    assert rails.column("SELECT count(*) FROM webhook_secrets WHERE expires_at IS NULL") == [1]
    assert newest is not None


def test_no_list_has_a_secret_in_it(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    _, secret = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (stored,) = rails.column("SELECT secret FROM webhook_secrets")
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    (delivery_id,) = rails.column("SELECT id FROM webhook_deliveries")
    lease = must_claim(rails, job_id).lease
    begun = PostgresDeliveries(rails.pool).begin(delivery_id, WORKSPACE, lease)

    shown = [repr(begun), repr(webhooks.search.endpoints(WORKSPACE)), repr(webhooks.search.deliveries(WORKSPACE))]
    shown += [repr(rails.job(job_id)), repr(attempt(rails, lease).facts)]

    assert [text for text in shown if repr(stored) in text or secret in text or stored.hex() in text] == []


# Workspaces


def test_another_workspace_s_endpoints_and_deliveries_do_not_exist(rails: Rails, webhooks: Webhooks) -> None:
    other = a_workspace(rails)
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (delivery_id,) = rails.column("SELECT id FROM webhook_deliveries")

    for view in (webhooks, make_webhooks(settings(), WorkspacePool(rails.pool, other))):
        assert view.rotate_secret(endpoint_id, other) is None
        assert not view.endpoints.enable(endpoint_id, other)
        assert not view.endpoints.disable(endpoint_id, other, "mine now")
        assert not view.endpoints.delete(endpoint_id, other)
        assert view.search.endpoint(endpoint_id, other) is None
        assert view.search.endpoints(other) == []
        assert view.search.delivery(delivery_id, other) is None
        assert view.search.deliveries(other) == []
        assert view.search.replay(other, DeliveryFilter(ids=(delivery_id,))) == []


def test_the_database_keeps_workspaces_apart_even_if_a_statement_forgets(rails: Rails, webhooks: Webhooks) -> None:
    other = a_workspace(rails)
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    stranger = make_webhooks(settings(), WorkspacePool(rails.pool, other))
    (delivery_id,) = rails.column("SELECT id FROM webhook_deliveries")

    # The right workspace in every statement, the wrong one behind the wall.
    assert stranger.search.endpoints(WORKSPACE) == []
    assert stranger.search.deliveries(WORKSPACE) == []
    assert stranger.rotate_secret(endpoint_id, WORKSPACE) is None
    assert not stranger.endpoints.delete(endpoint_id, WORKSPACE)
    assert stranger.search.replay(WORKSPACE, DeliveryFilter(ids=(delivery_id,))) == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        listen(stranger, "http://127.0.0.1:1/")


def test_the_api_manages_its_endpoints_and_cannot_read_their_secrets(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    pool = WorkspacePool(rails.pool, WORKSPACE)
    own = make_webhooks(settings(), pool)

    endpoint_id, secret = listen(own, receiver.url)
    new = own.rotate_secret(endpoint_id, WORKSPACE)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    deliver_all(rails)
    (delivery,) = own.search.deliveries(WORKSPACE)
    assert len(own.search.replay(WORKSPACE, DeliveryFilter(ids=(delivery["id"],)))) == 1
    assert own.endpoints.disable(endpoint_id, WORKSPACE, "by hand")
    assert own.endpoints.enable(endpoint_id, WORKSPACE)
    for known in (secret, new):
        assert known is not None
        Webhook(known).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
    for statement in ("SELECT secret FROM webhook_secrets", "UPDATE webhook_secrets SET secret = ''"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), pool.connection() as connection:
            connection.execute(statement)
    assert own.endpoints.delete(endpoint_id, WORKSPACE)


def test_what_the_api_changes_is_told_too(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/", "document.failed")
    job_id = rails.job(_uploaded(rails))["id"]

    from adapters.postgres.ledger import PostgresLedger

    assert PostgresLedger(WorkspacePool(rails.pool, WORKSPACE)).request_cancel(job_id)

    assert deliveries(rails, "event, data ->> 'failure_code'") == [("document.failed", "cancelled")]


def _uploaded(rails: Rails) -> UUID:
    from tests.builders import an_uploaded_document

    return an_uploaded_document(rails)[1]


def test_a_workspace_has_a_bounded_number_of_endpoints(rails: Rails) -> None:
    few = make_webhooks(settings(webhook_endpoints_per_workspace=2), rails.pool)
    for _ in range(2):
        listen(few, "http://127.0.0.1:1/")

    with pytest.raises(InvalidWebhookError, match="has 2 endpoints"):
        listen(few, "http://127.0.0.1:1/")
    listen(few, "http://127.0.0.1:1/", workspace_id=a_workspace(rails))


def test_endpoints_that_are_added_at_once_keep_to_the_bound(rails: Rails) -> None:
    few = make_webhooks(settings(webhook_endpoints_per_workspace=3), rails.pool)

    def add(_: int) -> bool:
        try:
            listen(few, "http://127.0.0.1:1/")
        except InvalidWebhookError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(add, range(12)))

    assert (sum(added), rails.count("webhook_endpoints")) == (3, 3)


def test_an_endpoint_is_deleted_while_its_deliveries_are_under_way(rails: Rails, webhooks: Webhooks) -> None:
    """Whoever settles a delivery takes the endpoint first, as whoever deletes one does: nobody waits in a circle."""
    for _ in range(10):
        endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")
        for _ in range(4):
            a_succeeded_job(rails, workspace_id=WORKSPACE)
        leases = [
            must_claim(rails, job_id).lease
            for job_id in rails.column("SELECT id FROM jobs WHERE queue = 'webhooks' AND state = 'pending'")
        ]
        with ThreadPoolExecutor(3) as threads:
            reports = [threads.submit(attempt, rails, lease) for lease in leases[:3]]
            threads.submit(webhooks.endpoints.delete, endpoint_id, WORKSPACE).result()
            results = [_result(report) for report in reports]

        assert set(results) <= {Result.UNREACHABLE, Result.OBSOLETE, "parked"}
        assert rails.count("webhook_deliveries") == 0


def test_a_job_that_ends_while_an_endpoint_is_deleted_ends(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    claim = a_running_job(rails, workspace_id=WORKSPACE)

    with ExitStack() as after:
        with connect(rails.url) as other, other.transaction():
            other.execute("DELETE FROM webhook_endpoints")
            ended = after.enter_context(meanwhile(lambda: rails.ledger.succeed(claim.lease)))
        assert ended.result()

    assert rails.job(claim.lease.job_id)["state"] == "succeeded"
    assert rails.count("webhook_deliveries") == 0


def _result(report: "Future[DeliveryReport]") -> str:
    try:
        return report.result().result
    except ParkedError:
        return "parked"


# Replay


def test_a_dead_letter_is_delivered_again_from_the_first_attempt_on(
    rails: Rails, webhooks: Webhooks, receiver: Receiver
) -> None:
    endpoint_id, _ = listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(410)
    deliver_all(rails)
    (old_job,) = rails.column("SELECT job_id FROM webhook_deliveries")
    which = DeliveryFilter(states=(DeliveryState.FAILED,))
    assert webhooks.search.replay(WORKSPACE, which) == []  # while it is disabled
    webhooks.endpoints.enable(endpoint_id, WORKSPACE)

    (row,) = webhooks.search.replay(WORKSPACE, which)
    (report,) = deliver_all(rails)

    assert (report.result, report.attempt) == (Result.DELIVERED, 1)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert rails.job(old_job)["replayed_by"] == row["job_id"]


def test_a_replay_overtakes_the_job_that_still_waits(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    receiver.then(500)
    deliver_all(rails)
    (delivery,) = webhooks.search.deliveries(WORKSPACE)

    webhooks.search.replay(WORKSPACE, DeliveryFilter(ids=(delivery["id"],)))
    reports = deliver_all(rails)

    assert sorted(report.result for report in reports) == [Result.DELIVERED, Result.OBSOLETE]
    assert len(receiver.requests) == 2


def test_a_replayed_job_sends_a_failed_delivery_again(rails: Rails, webhooks: Webhooks, receiver: Receiver) -> None:
    """`headrace jobs retry` works for webhooks as for any other dead letter."""
    from domain.dead_letters import retry_job

    listen(webhooks, receiver.url)
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    (job_id,) = rails.column("SELECT id FROM jobs WHERE queue = 'webhooks'")
    claim = must_claim(rails, job_id)
    rails.ledger.fail(job_id, claim.lease, describe(ValueError("a bug")))

    assert retry_job(job_id, transactions=rails.transactions).new_job_id == job_id
    assert [report.result for report in deliver_all(rails)] == [Result.DELIVERED]
    assert deliveries(rails) == [("task.completed", "delivered", 1)]


def test_a_replay_is_bounded_and_takes_the_oldest(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    for _ in range(3):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    oldest = rails.column("SELECT id FROM webhook_deliveries ORDER BY created_at")[:2]

    replayed = webhooks.search.replay(WORKSPACE, DeliveryFilter(), limit=2)

    assert [row["id"] for row in replayed] == oldest
    assert webhooks.search.replay(WORKSPACE, DeliveryFilter(newer_than=timedelta())) == []


# Lists and retention


def test_deliveries_are_listed_page_by_page(rails: Rails, webhooks: Webhooks) -> None:
    endpoint_id, _ = listen(webhooks, "http://127.0.0.1:1/")
    for _ in range(5):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    page = partial(webhooks.search.deliveries, WORKSPACE, endpoint_id=endpoint_id, limit=2)

    seen: list[UUID] = []
    before = None
    while rows := page(before=before):
        seen += [row["id"] for row in rows]
        before = (rows[-1]["created_at"], rows[-1]["id"])

    assert seen == rails.column("SELECT id FROM webhook_deliveries ORDER BY created_at DESC, id DESC")
    assert len(seen) == 5
    assert page(state=DeliveryState.DELIVERED) == []
    assert webhooks.search.deliveries(WORKSPACE, endpoint_id=uuid4()) == []


def test_deliveries_go_when_jobs_that_ended_so_do(rails: Rails, webhooks: Webhooks) -> None:
    listen(webhooks, "http://127.0.0.1:1/")
    for _ in range(4):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    ids = rails.column("SELECT id FROM webhook_deliveries")
    for delivery_id, state, days in zip(ids[:3], ["delivered", "failed", "discarded"], [8, 91, 91], strict=True):
        rails.connection.execute(
            "UPDATE webhook_deliveries SET state = %s, finished_at = now() - make_interval(days => %s) WHERE id = %s",
            [state, days, delivery_id],
        )

    pruned = prune_history(transactions=rails.transactions, keep=make_retention(settings()))

    assert (pruned.webhooks, pruned.failed_webhooks) == (1, 2)
    assert rails.column("SELECT id FROM webhook_deliveries") == [ids[3]]
