"""A bulk mail through real workers that are killed and a real mail server that fails: one mail for each address.

MAIL_RECIPIENTS=2000 makes it a long one.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest

from adapters.postgres.mail import MailDesk
from adapters.postgres.pool import connect
from tests.builders import WORKSPACE
from tests.e2e.conftest import IMPATIENT, Site
from tests.e2e.test_cli import run
from tests.e2e.test_probes import Probe
from tests.smtp_server import Mailbox, an_smtp_server, most_within, sometimes
from tests.workers import Workers, running_workers

RECIPIENTS = int(os.environ.get("MAIL_RECIPIENTS", "300"))
RATE_LIMIT = 600  # a minute: a slow machine could send more than that, too
NAMES = ("DATABASE_URL", "REDIS_URL", "BLOB_URL", "SMTP_HOST", "MAIL_FROM")


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def site(own_site: Site, mailbox: Mailbox) -> Iterator[Site]:
    with an_smtp_server(mailbox) as (_, port):
        own_site.environment |= {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(port),
            "SMTP_TLS": "none",
            "MAIL_FROM": "news@example.com",
            "MAIL_RETRY_SECONDS": "1",
        }
        yield own_site


def mail(site: Site, *arguments: str) -> Any:
    """Run `headrace mail … --json`; return what it wrote."""
    done = run("mail", *arguments, "--json", **{name: site.environment[name] for name in NAMES})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def a_bulk_mail(site: Site, count: int, *options: str) -> UUID:
    recipients, text = site.folder / "recipients.csv", site.folder / "text.txt"
    rows = [f"reader{number}@example.org,Reader {number},{number}" for number in range(count)]
    recipients.write_text("\n".join(["address,name,amount", *rows]))
    text.write_text("Dear {{ name }}, you owe {{ amount }}.\n")
    arguments = (str(recipients), "--subject", "For {{ name }}", "--text-file", str(text))
    return UUID(mail(site, "bulk", *arguments, *options)["task_id"])


class Watch:
    """Looks at a mailing's progress all the time, over a connection of its own."""

    def __init__(self, site: Site, task: UUID) -> None:
        self.seen: list[tuple[int, int]] = []
        self._query = (
            "SELECT m.sent + m.failed + m.suppressed + m.unconfirmed, t.progress"
            " FROM mailings m JOIN tasks t ON t.id = m.id WHERE m.id = %s"
        )
        self._site, self._task, self._stopping = site, task, Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        with connect(self._site.rails.url) as connection:
            while not self._stopping.wait(0.05):
                row = connection.execute(self._query, [self._task]).fetchone()
                if row and row not in self.seen[-1:]:
                    self.seen.append(row)


@pytest.mark.timeout(900)
def test_every_address_gets_one_mail_whatever_is_killed_and_whatever_fails(
    site: Site, mailbox: Mailbox, tmp_path: Path, record_property: Any
) -> None:
    mailbox.judge_recipient = sometimes(0.05, ["450 4.2.1 busy", "451 4.7.1 greylisted"], seed=1)
    mailbox.judge_data = sometimes(0.05, ["452 4.3.1 full", "hang up"], seed=2)
    # Long leases: a slow machine must not take the job from a worker that lives, for the next kill would be its second.
    environment = site.environment | IMPATIENT | {"LEASE_SECONDS": "8", "CRASH_TOKENS": str(tmp_path)}
    task = a_bulk_mail(site, RECIPIENTS, "--rate-limit", str(RATE_LIMIT))

    with ExitStack() as stack, Watch(site, task) as watch:
        workers: list[Workers] = [
            stack.enter_context(running_workers(environment, processes=1, queues=["email"], restart=True))
            for _ in range(2)
        ]

        def taken(more: float) -> None:
            """Wait for a share of the mails more than now: a job that dies twice without getting on is given up."""
            wanted = len(mailbox.envelopes) + RECIPIENTS * more
            workers[0].wait_until(lambda: len(mailbox.envelopes) >= wanted, seconds=300)

        taken(0.2)
        (tmp_path / "after_mail_is_handed_over").touch()  # the worst moment
        workers[0].wait_until(lambda: not list(tmp_path.iterdir()), seconds=30)
        taken(0.2)
        (tmp_path / "before_mail_is_handed_over").touch()
        workers[0].wait_until(lambda: not list(tmp_path.iterdir()), seconds=30)
        taken(0.2)
        for each in workers:
            for pid in each.pids:
                os.kill(pid, signal.SIGKILL)
        with site.redis() as doorbell:
            doorbell.flushdb()
        site.wait_for_jobs(task, seconds=400)

    doubles = {address: count for address, count in mailbox.addresses.items() if count > 1}
    row = MailDesk(site.rails.pool).mailing(task, WORKSPACE)
    assert row is not None
    figures = {
        "recipients": RECIPIENTS,
        "doubles": len(doubles),
        "doubts": row["doubts"],
        "refusals": mailbox.refusals,
        "most_in_a_minute": most_within(mailbox.times, 60),
        "rate_limit": RATE_LIMIT,
        "seconds": round(mailbox.times[-1] - mailbox.times[0], 1),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    assert site.rails.job(task)["state"] == "succeeded"
    assert mailbox.addresses.keys() == {f"reader{number}@example.org" for number in range(RECIPIENTS)}
    assert len(doubles) <= 3
    assert set(doubles.values()) <= {2}
    assert (row["sent"], row["done"]) == (RECIPIENTS, RECIPIENTS)
    assert row["doubts"] >= len(doubles)
    assert mailbox.refusals > RECIPIENTS * 0.05
    assert most_within(mailbox.times, 60) <= RATE_LIMIT
    # Turns are evenly apart and a mail is at most a second behind its own, so the limit holds in shorter windows, too.
    for window in (1, 3, 10):
        assert most_within(mailbox.times, window) <= (window + 1) * RATE_LIMIT / 61 + 1
    assert watch.seen == sorted(watch.seen)
    assert len({done for done, _ in watch.seen}) > 10
    assert [outcome for outcome in site.rails.attempts(task) if outcome == "crashed"] == ["crashed"] * 3


def test_two_mailings_in_two_workers_share_the_deployments_limit(site: Site, mailbox: Mailbox) -> None:
    environment = site.environment | {"MAIL_RATE_LIMIT": "1200"}
    tasks = [a_bulk_mail(site, 40) for _ in range(4)]
    site.rails.connection.execute("UPDATE jobs SET available_at = now() + interval '1 hour'")

    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(running_workers(environment, processes=1, threads=1, queues=["email"]))
        site.rails.connection.execute("UPDATE jobs SET available_at = now()")
        site.rails.connection.execute("SELECT pg_notify('headrace_jobs', 'email')")
        site.wait_for_jobs(*tasks, seconds=90)

    assert set(mailbox.addresses.values()) == {4}  # one of each mailing
    assert mailbox.connections >= 2
    for window in (1, 3):
        assert most_within(mailbox.times, window) <= (window + 1) * 1200 / 61 + 1


def test_a_bulk_mail_is_paused_and_resumed_from_the_command_line(site: Site, mailbox: Mailbox, free_port: int) -> None:
    task = a_bulk_mail(site, 400, "--rate-limit", "1200")

    with running_workers(site.environment | {"METRICS_PORT": str(free_port)}, processes=1) as workers:
        workers.wait_until(lambda: len(mailbox.envelopes) >= 10)
        assert mail(site, "pause", str(task))["paused_at"]
        workers.wait_until(lambda: site.rails.job(task)["state"] == "retrying")
        paused_with = len(mailbox.envelopes)
        state = mail(site, "status", str(task))
        assert state["done"] == paused_with < 400
        assert mail(site, "resume", str(task))["paused_at"] is None
        assert site.wait_for_jobs(task, seconds=60) == ["succeeded"]
        workers.wait_until(lambda: 'headrace_mails_total{result="sent"} 400.0' in Probe(free_port).get("/metrics")[1])

    assert set(mailbox.addresses.values()) == {1}
    assert len(mailbox.addresses) == 400


def test_one_mail_is_sent_from_the_command_line(site: Site, mailbox: Mailbox) -> None:
    task = UUID(mail(site, "send", "anna@example.com", "--subject", "Hello", "--text", "Dear {{ address }}")["task_id"])
    with running_workers(site.environment, processes=1):
        assert site.wait_for_jobs(task) == ["succeeded"]

    (message,) = mailbox.messages
    assert (message["To"], message.get_content().strip()) == ("anna@example.com", "Dear anna@example.com")
