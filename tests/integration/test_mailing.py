"""Mailings on a real database and a real SMTP server: one mail for each, whatever dies, hangs up or refuses."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.blobs.store import ObstoreBlobStore
from adapters.mail.composing import TemplateComposer
from adapters.mail.smtp import SmtpServer, SmtpTransport
from adapters.postgres.jobs import named_job
from adapters.postgres.mail import MailDesk, PostgresMailingIntake, PostgresMailings
from domain import crash_points, mail_delivery
from domain.dead_letters import retry_job
from domain.errors import FailureCode, JobCancelledError, LeaseLostError, ParkedError, PermanentError
from domain.jobs import Lease
from domain.mail import Attachment, InDoubt, Letter, MailLimits, NewRecipient, RecipientState, create_mailing
from domain.mail_delivery import MailingReport, MailPolicy, send_mailing
from domain.mailings import Pace, Result
from middleware.failures import describe
from tests.builders import WORKSPACE, Rails, a_workspace
from tests.smtp_server import Mailbox, an_smtp_server, most_within

SENDER = "news@example.com"
LETTER = Letter(subject="News for {{ name }}", text="Dear {{ name }}, the mill turns.", html="<p>{{ name }}</p>")


class Killed(BaseException):
    """The worker dies here."""


class Office:
    """A deployment: its database, its mail server, its workers."""

    def __init__(self, rails: Rails, port: int, folder: Path, **policy: Any) -> None:
        self.rails = rails
        self.blobs = ObstoreBlobStore(f"file://{folder}/blobs")
        self.transport = SmtpTransport(SmtpServer("127.0.0.1", port, tls="none", timeout_seconds=5))
        self.composer = TemplateComposer(SENDER)
        self.desk = MailDesk(rails.pool)
        given = {"rate_limit": 0, "first_pause": timedelta(), "most_attachment_bytes": 1000}
        self.policy = MailPolicy(sender=SENDER, **given | policy)

    def mailing(self, *addresses: str, letter: Letter = LETTER, workspace_id: UUID = WORKSPACE, **options: Any) -> UUID:
        """Put a mailing in."""
        recipients = [NewRecipient(each, each.partition("@")[0]) for each in addresses]
        limits = MailLimits(SENDER, 10_000)
        return create_mailing(
            workspace_id,
            letter,
            recipients,
            intake=PostgresMailingIntake(self.rails.pool),
            composer=self.composer,
            limits=limits,
            is_bulk=len(addresses) > 1,
            **options,
        ).task_id

    def claim(self, task_id: UUID) -> Lease:
        self.rails.connection.execute("UPDATE jobs SET available_at = now() WHERE id = %s", [task_id])
        self.rails.ring()
        claim = self.rails.claim(task_id)
        assert claim
        return claim.lease

    def run(self, task_id: UUID, lease: Lease | None = None, **options: Any) -> MailingReport:
        """Let a worker have a go."""
        return send_mailing(
            task_id,
            WORKSPACE,
            lease=lease or self.claim(task_id),
            mailings=PostgresMailings(self.rails.pool),
            transport=self.transport,
            composer=self.composer,
            blobs=self.blobs,
            policy=self.policy,
            **options,
        )

    def counts(self, task_id: UUID) -> dict[str, int]:
        row = self.rails.row("SELECT * FROM mailings WHERE id = %s", task_id)
        return {name: row[name] for name in ("sent", "failed", "suppressed", "unconfirmed", "doubts") if row[name]}

    def states(self, task_id: UUID) -> dict[str, str]:
        rows = self.desk.recipients(task_id, WORKSPACE, state=None, limit=1000)
        return {row["address"]: row["state"] for row in rows}

    def wait_again(self, task_id: UUID, lease: Lease) -> None:
        """Let the job go as the ledger does when its attempt parks."""
        self.rails.connection.execute(
            "UPDATE jobs SET state = 'retrying', lease_expires_at = NULL, available_at = now() + interval '1 day'"
            " WHERE id = %s AND lease = %s",
            [task_id, lease.number],
        )


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port(mailbox: Mailbox) -> Iterator[int]:
    with an_smtp_server(mailbox) as (_, port):
        yield port


@pytest.fixture
def office(rails: Rails, port: int, tmp_path: Path) -> Iterator[Office]:
    office = Office(rails, port, tmp_path)
    yield office
    office.transport.close()


@pytest.fixture
def dies_at() -> Iterator[Callable[[str, int], None]]:
    """Let the worker die at a crash point, at its n-th pass."""

    def arm(name: str, passes: int = 1) -> None:
        seen = []

        def decide(point: str) -> None:
            if point == name:
                seen.append(point)
                if len(seen) == passes:
                    raise Killed

        crash_points.arm(decide)

    yield arm
    crash_points._action = None


def addresses(count: int) -> list[str]:
    return [f"reader{number}@example.org" for number in range(count)]


def test_everybody_gets_one_mail_over_one_connection(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(20))

    report = office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(20), 1)
    assert mailbox.connections == 1
    assert report.results == {Result.SENT: 20}
    assert office.counts(task) == {"sent": 20}
    first = mailbox.messages[0]
    assert (first["Subject"], first["From"], first["To"]) == (
        "News for reader0",
        SENDER,
        "reader0 <reader0@example.org>",
    )
    assert first.get_body(("plain",)).get_content() == "Dear reader0, the mill turns.\r\n"
    assert first.get_body(("html",)).get_content().strip() == "<p>reader0</p>"


def test_a_connection_is_kept_for_the_next_mailing_and_opened_again_when_it_broke(
    office: Office, mailbox: Mailbox
) -> None:
    office.run(office.mailing("one@example.org"))
    office.run(office.mailing("two@example.org"))
    kept = mailbox.connections
    _, smtp = office.transport._idle[0]
    smtp.sock.shutdown(2)

    office.run(office.mailing("three@example.org"))

    assert (kept, mailbox.connections) == (1, 2)
    assert mailbox.addresses == {"one@example.org": 1, "two@example.org": 1, "three@example.org": 1}


def test_a_mailbox_that_is_named_twice_gets_one_mail(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing("one@example.org", "ONE@Example.org", "two@example.org")

    office.run(task)

    assert sum(mailbox.addresses.values()) == 2
    assert office.desk.mailing(task, WORKSPACE)["total"] == 2


def test_a_temporary_refusal_is_tried_again_and_a_permanent_one_is_not(office: Office, mailbox: Mailbox) -> None:
    refusals = {"later@example.org": ["451 busy", "450 greylisted"], "never@example.org": ["550 5.1.1 no such user"]}
    mailbox.judge_recipient = lambda address: refusals.get(address, []).pop(0) if refusals.get(address) else None
    task = office.mailing("later@example.org", "never@example.org", "one@example.org")

    office.run(task)

    assert mailbox.addresses == {"later@example.org": 1, "one@example.org": 1}
    assert office.counts(task) == {"sent": 2, "failed": 1}
    (never,) = office.desk.recipients(task, WORKSPACE, state=RecipientState.FAILED)
    assert (never["code"], never["error"], never["attempts"]) == (550, "550 5.1.1 no such user", 1)


def test_refused_for_ever_a_recipient_fails_after_six_attempts(office: Office, mailbox: Mailbox) -> None:
    mailbox.judge_data = lambda address: "452 full" if address == "full@example.org" else None
    task = office.mailing("full@example.org", "one@example.org")

    office.run(task)

    (full,) = office.desk.recipients(task, WORKSPACE, state=RecipientState.FAILED)
    assert (full["attempts"], mailbox.refusals) == (mail_delivery.MOST_ATTEMPTS, mail_delivery.MOST_ATTEMPTS)


def test_pauses_between_attempts_grow(office: Office, mailbox: Mailbox) -> None:
    office.policy = MailPolicy(SENDER, 0, timedelta(seconds=60), 1000)
    mailbox.judge_recipient = lambda _: "450 later"
    task = office.mailing("later@example.org")
    waits = []
    for _ in range(2):
        with pytest.raises(ParkedError) as parked:
            office.run(task)
        waits.append(parked.value.retry_after.total_seconds())
        office.rails.connection.execute("UPDATE mail_recipients SET available_at = now()")
        office.rails.connection.execute("UPDATE jobs SET state = 'retrying', lease_expires_at = NULL")

    assert 55 < waits[0] <= 60
    assert 175 < waits[1] <= 180


def test_a_mail_that_reaches_nobody_fails_with_the_servers_words(office: Office, mailbox: Mailbox) -> None:
    mailbox.judge_recipient = lambda _: "550 no such user\x07"
    task = office.mailing("never@example.org")

    with pytest.raises(PermanentError, match=r"Nobody could be reached. The last answer: 550 no such user") as failed:
        office.run(task)

    assert failed.value.code is FailureCode.MAIL_REJECTED


def test_a_worker_that_dies_before_the_mail_leaves_doubles_nothing(office: Office, mailbox: Mailbox, dies_at) -> None:
    task = office.mailing(*addresses(5))
    dies_at("before_mail_is_handed_over", 3)
    with pytest.raises(Killed):
        office.run(task)
    office.rails.expire(task)
    office.rails.leases.rescue_expired()

    report = office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(5), 1)
    assert (report.doubts, office.counts(task)) == (1, {"sent": 5, "doubts": 1})


def test_a_worker_that_dies_after_the_mail_left_doubles_one_under_the_same_message_id(
    office: Office, mailbox: Mailbox, dies_at
) -> None:
    task = office.mailing(*addresses(5))
    dies_at("after_mail_is_handed_over", 3)
    with pytest.raises(Killed):
        office.run(task)
    office.rails.expire(task)
    office.rails.leases.rescue_expired()

    office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(5), 1) | {"reader2@example.org": 2}
    ids = [message["Message-ID"] for message in mailbox.messages]
    assert len(set(ids)) == 5
    assert office.counts(task) == {"sent": 5, "doubts": 1}


def test_a_mailing_that_would_rather_lose_a_mail_sends_none_twice(office: Office, mailbox: Mailbox, dies_at) -> None:
    task = office.mailing(*addresses(5), in_doubt=InDoubt.GIVE_UP)
    dies_at("before_mail_is_handed_over", 3)
    with pytest.raises(Killed):
        office.run(task)
    office.rails.expire(task)
    office.rails.leases.rescue_expired()

    office.run(task)

    assert set(mailbox.addresses.values()) == {1}
    assert office.states(task)["reader2@example.org"] == "unconfirmed"
    assert office.counts(task) == {"sent": 4, "unconfirmed": 1, "doubts": 1}


def test_a_mailing_that_gets_on_between_crashes_is_no_suspect(office: Office, mailbox: Mailbox, dies_at) -> None:
    task = office.mailing(*addresses(30))
    for _ in range(5):
        dies_at("after_mail_is_handed_over", 4)
        with pytest.raises(Killed):
            office.run(task)
        office.rails.expire(task)
        assert office.rails.leases.rescue_expired() == {task: "retrying"}
    crash_points._action = None

    office.run(task)

    assert sum(mailbox.addresses.values()) <= 35
    assert office.counts(task) == {"sent": 30, "doubts": 5}


def test_a_silent_worker_that_comes_back_sends_nothing_more(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(3))
    stale = office.claim(task)

    def steal(address: str) -> None:
        if address == "reader0@example.org" and not stale.lost:
            stale.lost = True
            office.rails.expire(task)
            office.rails.leases.rescue_expired()

    mailbox.before_taking = steal
    with pytest.raises(LeaseLostError):
        office.run(task, stale)

    office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(3), 1)  # what it had sent, it could still say


def test_a_lost_answer_leaves_one_in_doubt(office: Office, mailbox: Mailbox) -> None:
    answers = ["hang up"]
    mailbox.judge_data = lambda address: answers.pop() if answers and address == "reader1@example.org" else None
    task = office.mailing(*addresses(3))

    office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(3), 1)
    assert office.counts(task) == {"sent": 3, "doubts": 1}
    assert mailbox.connections == 2


def test_a_server_that_is_away_is_nobodys_fault(rails: Rails, tmp_path: Path, free_port: int) -> None:
    office = Office(rails, free_port, tmp_path)
    task = office.mailing(*addresses(2))

    with pytest.raises(ParkedError, match="the mail server is not available") as parked:
        office.run(task)
    office.wait_again(task, Lease(task, 1))
    rails.connection.execute("UPDATE mailings SET outage_since = now() - interval '2 days'")
    with pytest.raises(PermanentError, match="has not taken mail for a day") as failed:
        office.run(task)

    assert (parked.value.code, failed.value.code) == (FailureCode.MAIL_UNAVAILABLE, FailureCode.MAIL_UNAVAILABLE)
    assert set(office.states(task).values()) == {"pending"}


def test_a_server_that_closes_asks_everybody_to_wait(office: Office, mailbox: Mailbox) -> None:
    mailbox.judge_recipient = lambda _: "421 shutting down"
    task = office.mailing(*addresses(2))

    with pytest.raises(ParkedError, match="421 shutting down"):
        office.run(task)

    assert set(office.states(task).values()) == {"pending"}


def test_a_server_that_closes_when_it_has_the_mail_leaves_no_doubt(office: Office, mailbox: Mailbox) -> None:
    answers = ["421 4.7.0 try again later"]
    mailbox.judge_data = lambda _: answers.pop() if answers else None
    task = office.mailing(*addresses(1), in_doubt=InDoubt.GIVE_UP)
    lease = office.claim(task)

    with pytest.raises(ParkedError, match="421"):
        office.run(task, lease)
    office.wait_again(task, lease)
    office.run(task)

    assert office.counts(task) == {"sent": 1}
    assert mailbox.addresses == dict.fromkeys(addresses(1), 1)


def test_a_mailing_that_is_retried_waits_anew_for_the_server(rails: Rails, tmp_path: Path, free_port: int) -> None:
    office = Office(rails, free_port, tmp_path)
    task = office.mailing(*addresses(1))
    rails.connection.execute("UPDATE mailings SET outage_since = now() - interval '25 hours'")
    lease = office.claim(task)
    with pytest.raises(PermanentError) as failed:
        office.run(task, lease)
    rails.ledger.fail(task, lease, describe(failed.value))

    assert retry_job(task, transactions=rails.transactions).reason is None
    with pytest.raises(ParkedError):
        office.run(task)


def test_an_outage_ends_with_a_pause(rails: Rails, tmp_path: Path, free_port: int) -> None:
    office = Office(rails, free_port, tmp_path)
    task = office.mailing(*addresses(1))
    rails.connection.execute("UPDATE mailings SET outage_since = now() - interval '3 days'")
    office.desk.pause(task, WORKSPACE)
    lease = office.claim(task)
    with pytest.raises(ParkedError, match="paused"):
        office.run(task, lease)
    office.wait_again(task, lease)

    office.desk.resume(task, WORKSPACE)
    with pytest.raises(ParkedError, match="not available"):
        office.run(task)


def test_suppressed_addresses_get_nothing(office: Office, mailbox: Mailbox) -> None:
    office.desk.suppress(WORKSPACE, "Reader1@Example.org", "unsubscribed")
    task = office.mailing(*addresses(3))

    office.run(task)

    assert mailbox.addresses == {"reader0@example.org": 1, "reader2@example.org": 1}
    assert office.counts(task) == {"sent": 2, "suppressed": 1}


def test_a_mail_to_a_suppressed_address_fails_and_says_why(office: Office, mailbox: Mailbox) -> None:
    office.desk.suppress(WORKSPACE, "one@example.org", "unsubscribed")

    with pytest.raises(PermanentError) as failed:
        office.run(office.mailing("one@example.org"))

    assert failed.value.code is FailureCode.MAIL_SUPPRESSED


def test_a_mailing_is_cancelled_at_the_next_recipient(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(10))
    mailbox.before_taking = lambda address: (
        office.rails.ledger.request_cancel(task) if address == "reader4@example.org" else None
    )

    with pytest.raises(JobCancelledError):
        office.run(task)

    assert sum(mailbox.addresses.values()) == 5
    assert office.counts(task) == {"sent": 5}


def test_a_mailing_is_paused_at_the_next_recipient_and_resumed(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(10))
    mailbox.before_taking = lambda address: (
        office.desk.pause(task, WORKSPACE) if address == "reader4@example.org" else None
    )
    lease = office.claim(task)
    with pytest.raises(ParkedError, match="paused"):
        office.run(task, lease)
    sent = sum(mailbox.addresses.values())
    office.wait_again(task, lease)
    mailbox.before_taking = lambda _: None

    assert office.desk.resume(task, WORKSPACE)
    assert office.rails.column("SELECT available_at <= now() FROM jobs WHERE id = %s", task) == [True]
    office.run(task)

    assert (sent, mailbox.addresses) == (5, dict.fromkeys(addresses(10), 1))


def test_resumed_on_its_way_to_wait_a_mailing_does_not_wait(office: Office) -> None:
    task = office.mailing(*addresses(2))
    office.desk.pause(task, WORKSPACE)
    lease = office.claim(task)
    with pytest.raises(ParkedError):
        office.run(task, lease)

    office.desk.resume(task, WORKSPACE)  # the attempt has not yet been let go
    office.wait_again(task, lease)

    assert office.rails.column("SELECT available_at <= now() FROM jobs WHERE id = %s", task) == [True]


def test_progress_is_told_and_never_goes_back(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(50))
    seen: list[int] = []
    mailbox.before_taking = lambda _: seen.append(_progress(office.rails, task))

    office.run(task)

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 98)
    last = office.rails.row("SELECT data FROM job_events WHERE event = 'progress' ORDER BY id DESC LIMIT 1")["data"]
    assert last == {"done": 50, "total": 50, "sent": 50, "failed": 0, "suppressed": 0, "unconfirmed": 0}


def _progress(rails: Rails, task: UUID) -> int:
    with rails.pool.connection() as connection:
        return connection.execute("SELECT coalesce(progress, 0) FROM jobs WHERE id = %s", [task]).fetchone()[0]


def test_no_window_has_more_mails_than_the_limit_with_two_workers(
    rails: Rails, port: int, mailbox: Mailbox, tmp_path: Path
) -> None:
    window = timedelta(seconds=3)
    offices = [Office(rails, port, tmp_path, rate_limit=40, window=window) for _ in range(2)]
    tasks = [office.mailing(*addresses(60), in_doubt=InDoubt.GIVE_UP) for office in offices]
    leases = [office.claim(task) for office, task in zip(offices, tasks, strict=True)]
    began = time.monotonic()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda each: each[0].run(each[1], each[2]), zip(offices, tasks, leases, strict=True)))

    assert len(mailbox.times) == 120
    assert most_within(mailbox.times, window.total_seconds()) <= 40
    assert time.monotonic() - began < 120 * (3 + 1) / 40 + 3  # held, and not much slower than that


def test_a_mailings_own_limit_holds_over_a_restart(office: Office, mailbox: Mailbox, dies_at) -> None:
    office.policy = MailPolicy(SENDER, 0, timedelta(), 1000, window=timedelta(seconds=2))
    task = office.mailing(*addresses(16), rate_limit=10)
    dies_at("after_mail_is_handed_over", 8)
    with pytest.raises(Killed):
        office.run(task)
    office.rails.expire(task)
    office.rails.leases.rescue_expired()

    office.run(task)

    assert len(mailbox.times) == 17
    assert most_within(mailbox.times, 2.0) <= 10


def test_a_mailing_that_slept_for_days_keeps_its_limit(office: Office) -> None:
    tasks = [office.mailing(*addresses(2), rate_limit=1) for _ in range(2)]
    mailings = PostgresMailings(office.rails.pool)
    leases = [office.claim(task) for task in tasks]
    for task, lease in zip(tasks, leases, strict=True):
        mailings.begin(task, WORKSPACE, lease)
    office.rails.connection.execute("UPDATE mail_paces SET next_at = now() - interval '3 days'")
    for task, lease in zip(tasks, leases, strict=True):
        mailings.begin(task, WORKSPACE, lease)

    pace = [Pace(tasks[0], timedelta(minutes=1))]

    assert [mailings.take_turn(pace, timedelta(seconds=5))[0] for _ in range(2)] == [True, False]


def test_a_slow_pace_gives_the_thread_to_others(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(3), rate_limit=1)

    with pytest.raises(ParkedError, match="rate limit") as parked:
        office.run(task)

    assert sum(mailbox.addresses.values()) == 1
    assert 50 < parked.value.retry_after.total_seconds() <= 61


def test_attachments_come_from_the_workspaces_blobs(office: Office, mailbox: Mailbox) -> None:
    office.blobs.put(f"{WORKSPACE}/report", [b"%PDF-1.7 report"])
    attachment = Attachment(f"{WORKSPACE}/report", "Größe.pdf", "application/pdf")
    task = office.mailing("one@example.org", letter=Letter(subject="x", text="y", attachments=[attachment]))

    office.run(task)

    (found,) = mailbox.messages[0].iter_attachments()
    assert (found.get_filename(), found.get_content_type(), found.get_content()) == (
        "Größe.pdf", "application/pdf", b"%PDF-1.7 report")  # fmt: skip


@pytest.mark.parametrize(("size", "code"), [(None, FailureCode.BLOB_MISSING), (1001, FailureCode.TOO_LARGE)])
def test_attachments_that_cannot_be_sent_fail_before_anything_is_sent(
    office: Office, mailbox: Mailbox, size: int | None, code: FailureCode
) -> None:
    if size:
        office.blobs.put(f"{WORKSPACE}/large", [b"x" * size])
    attachment = Attachment(f"{WORKSPACE}/large", "a.bin")
    task = office.mailing("one@example.org", letter=Letter(subject="x", text="y", attachments=[attachment]))

    with pytest.raises(PermanentError) as failed:
        office.run(task)

    assert (failed.value.code, mailbox.envelopes) == (code, [])


def test_a_second_job_for_a_mailing_sends_nothing(office: Office, mailbox: Mailbox) -> None:
    task = office.mailing(*addresses(3))
    other = named_job("send_single_email", {"mailing_id": task, "workspace_id": WORKSPACE})
    office.rails.ledger.enqueue(other)
    reports: list[MailingReport] = []

    def meddle(address: str) -> None:
        if address == "reader1@example.org" and not reports:
            reports.append(office.run(task, office.claim(other.id)))

    mailbox.before_taking = meddle
    office.run(task)

    assert mailbox.addresses == dict.fromkeys(addresses(3), 1)
    assert reports[0].results == {}
    assert office.counts(task) == {"sent": 3}


def test_a_mailing_of_another_workspace_is_none(office: Office, mailbox: Mailbox) -> None:
    stranger = a_workspace(office.rails)
    task = office.mailing("one@example.org", workspace_id=stranger)

    assert office.run(task).results == {}
    assert mailbox.envelopes == []
    assert office.desk.mailing(task, WORKSPACE) is None
    assert not office.desk.pause(task, WORKSPACE)
    assert office.rails.count("mailings WHERE paused_at IS NOT NULL") == 0


def test_history_takes_the_mailing_along(office: Office) -> None:
    office.mailing(*addresses(3))

    office.rails.connection.execute("DELETE FROM jobs")

    assert (office.rails.count("mailings"), office.rails.count("mail_recipients")) == (0, 0)
