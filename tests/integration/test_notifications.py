"""Notifications: once each, where the user wishes, in one transaction with what they tell of."""

import dataclasses
from functools import partial
from uuid import uuid4

import pytest

from adapters.postgres.ledger import enqueue_in
from adapters.postgres.notifications import NotificationDesk, PostgresNotifications
from adapters.postgres.pool import LazyPool
from adapters.settings import Settings
from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.jobs import Lease
from domain.notifications import Notification, NotificationReport, Preference, Way, user_notification
from domain.webhooks import NewEndpoint
from tests.builders import (
    WORKSPACE,
    Rails,
    a_failed_document,
    a_job,
    a_ready_document,
    a_running_job,
    a_workspace,
    must_claim,
)

PAID = Notification(WORKSPACE, "ada", "invoice.paid", "Invoice 42 is paid", "Thank you.", "invoice:42", "42:paid")


def tell(rails: Rails, notification: Notification = PAID, lease: Lease | None = None) -> NotificationReport:
    lease = lease or a_running_job(rails, name="user_notification", queue="notifications").lease
    return user_notification(notification, lease=lease, notifications=PostgresNotifications(rails.pool))


def prefer(rails: Rails, user: str = "ada", **wishes: object) -> None:
    NotificationDesk(rails.pool).prefer(WORKSPACE, Preference(user, **wishes))


def told(rails: Rails, **filters: object) -> list[str]:
    return [row["title"] for row in NotificationDesk(rails.pool).list(WORKSPACE, **filters)]


def run_notifications(rails: Rails) -> list[NotificationReport]:
    """Do what workers would."""
    reports = []
    for job_id in rails.column("SELECT id FROM jobs WHERE queue = 'notifications' AND finished_at IS NULL"):
        claim = must_claim(rails, job_id)
        kwargs = dict(claim.message["kwargs"])
        kwargs["workspace_id"] = WORKSPACE
        reports.append(tell(rails, Notification(**kwargs), claim.lease))
    return reports


def test_a_user_is_told_once_and_watchers_hear_of_it(rails: Rails) -> None:
    assert tell(rails).is_new
    assert not tell(rails).is_new

    assert told(rails, user="ada") == ["Invoice 42 is paid"]
    assert told(rails, user="bob") == []
    events = rails.column("SELECT data ->> 'title' FROM job_events WHERE event = 'notification.created'")
    assert events == ["Invoice 42 is paid"]


def test_without_a_key_every_job_tells(rails: Rails) -> None:
    for _ in range(2):
        tell(rails, dataclasses.replace(PAID, dedup_key=""))

    assert len(told(rails)) == 2


def test_what_was_read_is_not_unread(rails: Rails) -> None:
    first = tell(rails)
    tell(rails, dataclasses.replace(PAID, dedup_key="other"))
    desk = NotificationDesk(rails.pool)

    assert desk.read(WORKSPACE, notification_id=first.notification_id) == 1
    assert desk.read(WORKSPACE, notification_id=first.notification_id) == 0
    assert len(told(rails, unread=True)) == 1
    assert desk.read(a_workspace(rails), user="ada") == 0
    assert desk.read(WORKSPACE, user="ada") == 1
    assert told(rails, unread=True) == []


def test_mail_that_cannot_be_sent_here_is_said_and_stops_nothing(rails: Rails) -> None:
    prefer(rails, email="ada@example.com")

    report = tell(rails)

    assert report.email is Way.UNAVAILABLE
    assert str(report.note).startswith("email_unavailable: ")
    [row] = NotificationDesk(rails.pool).list(WORKSPACE)
    assert (row["email"], row["note"]) == ("unavailable", report.note)


def test_mail_is_put_in_with_the_notification_or_not_at_all(rails: Rails) -> None:
    def mail(pool: LazyPool, notification: Notification, address: str) -> None:
        with pool.connection() as connection, connection.transaction():
            enqueue_in(connection, a_job(name=address, queue="mail"))
            if notification.title == "refused":
                raise PermanentError(FailureCode.TOO_LARGE, "No.")

    prefer(rails, email="ada@example.com")
    for title, way in (("Paid", Way.QUEUED), ("refused", Way.UNAVAILABLE)):
        lease = a_running_job(rails, name="user_notification", queue="notifications").lease
        told = dataclasses.replace(PAID, title=title, dedup_key=title)
        report = user_notification(told, lease=lease, notifications=PostgresNotifications(rails.pool, mail))
        assert report.email is way

    assert rails.column("SELECT actor FROM jobs WHERE queue = 'mail'") == ["ada@example.com"]


def test_webhooks_tell_of_it_if_the_user_wishes(rails: Rails) -> None:
    from adapters.postgres.webhooks import PostgresEndpoints

    endpoint = NewEndpoint(uuid4(), WORKSPACE, "https://example.com/hook", ("notification.created",), "")
    assert PostgresEndpoints(rails.pool).add(endpoint, b"x" * 32, limit=5)
    tell(rails, dataclasses.replace(PAID, dedup_key="before"))
    prefer(rails, webhook=True, kinds=["invoice.paid"])

    assert tell(rails).webhook is Way.QUEUED
    assert tell(rails, dataclasses.replace(PAID, kind="other.kind", dedup_key="other")).webhook is Way.OFF
    assert rails.column("SELECT data ->> 'about' FROM webhook_deliveries") == ["invoice:42"]
    assert rails.column("SELECT actor FROM jobs WHERE queue = 'webhooks'") == ["deliver_webhook"]


def test_documents_tell_those_who_wish_to_hear(rails: Rails) -> None:
    prefer(rails, "ada")
    prefer(rails, "bob", kinds=["document.failed"])
    ready = a_ready_document(rails, content=b"1", blob_key=f"{WORKSPACE}/1")
    a_failed_document(rails, content=b"2", blob_key=f"{WORKSPACE}/2")

    assert len(run_notifications(rails)) == 3

    assert sorted(told(rails, user="ada")) == ["river.pdf has failed", "river.pdf is ready"]
    assert told(rails, user="bob") == ["river.pdf has failed"]
    [row] = [row for row in NotificationDesk(rails.pool).list(WORKSPACE) if row["kind"] == "document.ready"]
    assert row["about"] == f"document:{ready}"


def test_documents_tell_nobody_who_did_not_ask(rails: Rails) -> None:
    a_ready_document(rails)

    assert rails.column("SELECT count(*) FROM jobs WHERE queue = 'notifications'") == [0]


def test_a_notification_is_no_news_of_a_task(rails: Rails) -> None:
    from adapters.postgres.webhooks import PostgresEndpoints

    endpoint = NewEndpoint(uuid4(), WORKSPACE, "https://example.com/hook", ("task.completed",), "")
    PostgresEndpoints(rails.pool).add(endpoint, b"x" * 32, limit=5)

    tell(rails)

    assert rails.count("webhook_deliveries") == 0


@pytest.mark.parametrize(
    "changes", [{"user": "two words"}, {"kind": "X"}, {"title": ""}, {"body": "x" * 4001}, {"dedup_key": "a b"}]
)
def test_what_does_not_fit_is_refused(rails: Rails, changes: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match=next(iter(changes))):
        tell(rails, dataclasses.replace(PAID, **changes))


@pytest.mark.parametrize("email", ["a@b", "a@b.c\nBcc: x@y.z", "two words@example.com", "@example.com"])
def test_an_address_that_is_none_is_refused(rails: Rails, email: str) -> None:
    with pytest.raises(InvalidJobError):
        prefer(rails, email=email)


def test_a_mail_is_put_in_with_the_notification(rails: Rails) -> None:
    from adapters.data_jobs import mail_notification

    prefer(rails, email="ada@example.org")
    settings = Settings(
        _env_file=None,
        database_url=rails.url,
        redis_url="redis://localhost",
        smtp_host="localhost",
        mail_from="mill@example.org",
    )
    lease = a_running_job(rails, name="user_notification", queue="notifications").lease
    desk = PostgresNotifications(rails.pool, partial(mail_notification, settings))

    report = user_notification(PAID, lease=lease, notifications=desk)

    assert report.email is Way.QUEUED
    row = rails.row("SELECT r.address, j.actor FROM mail_recipients r JOIN jobs j ON j.id = r.mailing_id")
    assert (row["address"], row["actor"]) == ("ada@example.org", "send_single_email")
