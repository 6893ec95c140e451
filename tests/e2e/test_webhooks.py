"""Webhooks from a document to a receiver, through real workers and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from tests.builders import WORKSPACE, Rails, a_pdf, a_succeeded_job
from tests.conftest import _new_database, short_folder
from tests.e2e.conftest import IMPATIENT, Site, a_site
from tests.e2e.test_cli import run
from tests.e2e.test_probes import Probe
from tests.integration.conftest import EMPTY
from tests.webhook_receiver import Receiver
from tests.workers import running_workers

NAMES = ("DATABASE_URL", "REDIS_URL", "BLOB_URL", "WEBHOOKS_ALLOW_PRIVATE")


@pytest.fixture(scope="module")
def module_site(postgres_url: str, template_database: str, redis_url: str) -> Iterator[Site]:
    with (
        short_folder() as folder,
        _new_database(postgres_url, template_database) as url,
        a_site(folder, database_url=url, redis_url=redis_url) as site,
    ):
        site.environment["WEBHOOKS_ALLOW_PRIVATE"] = "true"
        yield site


@pytest.fixture
def site(module_site: Site) -> Site:
    module_site.rails.connection.execute(EMPTY)
    return module_site


@pytest.fixture
def rails(site: Site) -> Rails:
    return site.rails


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def webhooks(site: Site, *arguments: str, code: int = 0, **more: str) -> Any:
    """Run `headrace webhooks … --json`; return what it wrote."""
    environment = {name: site.environment[name] for name in NAMES} | more
    done = run("webhooks", *arguments, "--json", **environment)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def messages(receiver: Receiver, secret: str) -> list[dict[str, Any]]:
    return [Webhook(secret).verify(request.body, dict(request.headers)) for request in receiver.requests]


def test_a_document_s_end_reaches_the_receiver(site: Site, receiver: Receiver, free_port: int) -> None:
    secret = webhooks(site, "create", receiver.url)["secret"]
    receiver.then(503, {"retry-after": "5"})

    with running_workers(site.environment | {"METRICS_PORT": str(free_port)}, processes=1) as workers:
        good = site.upload(a_pdf("The river turns the mill.")).document_id
        site.wait_for_documents(good)
        bad = site.upload(a_pdf("")).document_id
        site.wait_for_documents(bad)
        workers.wait_until(lambda: len(receiver.requests) == 5)
        site.wait_for_jobs()
        log, metrics = workers.log, Probe(free_port).get("/metrics")[1]

    told = messages(receiver, secret)
    data = {message["type"]: message["data"] for message in told}
    task = site.rails.column("SELECT id FROM jobs WHERE document_id = %s AND actor = 'extract_document'", good)[0]
    assert {name: body["document_id"] for name, body in data.items()} == {
        "document.ready": str(good),
        "task.completed": str(good),
        "document.failed": str(bad),
        "task.failed": str(bad),
    }
    assert data["task.completed"]["task_id"] == str(task)
    assert data["document.failed"]["failure_code"] == "pdf_no_text"
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 4
    assert site.rails.column("SELECT state FROM webhook_deliveries") == ["delivered"] * 4
    assert 'headrace_webhooks_total{result="delivered"} 4.0' in metrics
    assert 'headrace_webhooks_total{result="rejected"} 1.0' in metrics
    assert "headrace_webhook_duration_seconds_count 5.0" in metrics
    assert secret not in log
    assert '"event": "webhook_attempted"' in log


def test_a_worker_killed_between_answer_and_commit_tells_again_under_the_same_id(
    site: Site, receiver: Receiver, tmp_path: Path
) -> None:
    secret = webhooks(site, "create", receiver.url)["secret"]
    (tmp_path / "after_webhook_answered").touch()
    environment = site.environment | IMPATIENT | {"CRASH_TOKENS": str(tmp_path)}

    with running_workers(environment, processes=1, restart=True) as workers:
        a_succeeded_job(site.rails, workspace_id=WORKSPACE)
        workers.wait_until(lambda: len(receiver.requests) == 2, seconds=40)
        site.wait_for_jobs()

    first, second = messages(receiver, secret)
    assert first == second
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert site.rails.column("SELECT state FROM webhook_deliveries") == ["delivered"]
    assert site.rails.attempts(site.rails.column("SELECT job_id FROM webhook_deliveries")[0]) == [
        "crashed",
        "succeeded",
    ]


def test_a_receiver_that_was_down_gets_everything_once_it_is_back(site: Site, receiver: Receiver) -> None:
    secret = webhooks(site, "create", receiver.url)["secret"]
    receiver.then(503, times=3)

    with running_workers(site.environment, processes=2):
        told = [a_succeeded_job(site.rails, workspace_id=WORKSPACE) for _ in range(40)]
        site.wait_for_jobs(seconds=40)

    good = {message["data"]["task_id"] for message in messages(receiver, secret)}
    assert good == {str(job_id) for job_id in told}
    assert len(receiver.requests) == 43
    assert site.rails.column("SELECT DISTINCT state FROM webhook_deliveries") == ["delivered"]
    parked = site.rails.column("SELECT count(*) FROM job_attempts WHERE outcome = 'parked' GROUP BY job_id")
    assert max(parked, default=0) < 10


def test_the_command_line_manages_endpoints(site: Site, rails: Rails) -> None:
    created = webhooks(site, "create", "https://example.com/hook", "-e", "task.failed", "--description", "the shop")
    webhooks(site, "create", "https://example.com/other")

    first, second = webhooks(site, "list")
    assert (first["url"], first["events"], first["description"]) == (
        "https://example.com/hook",
        ["task.failed"],
        "the shop",
    )
    assert len(second["events"]) == 5
    assert "secret" not in first
    rotated = webhooks(site, "rotate-secret", created["id"])
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != created["secret"]
    webhooks(site, "disable", created["id"], "--reason", "moved away")
    assert webhooks(site, "list")[0]["disabled_reason"] == "moved away"
    webhooks(site, "enable", created["id"])
    assert webhooks(site, "list")[0]["disabled_at"] is None
    webhooks(site, "delete", created["id"])
    assert [row["id"] for row in webhooks(site, "list")] == [second["id"]]


def test_what_the_command_line_refuses(site: Site) -> None:
    nobody = str(UUID(int=7))

    assert "must begin with https" in webhooks(site, "create", "ftp://example.com", code=2)
    refused = webhooks(site, "create", "http://127.0.0.1:1/", code=2, WEBHOOKS_ALLOW_PRIVATE="false")
    assert "must begin with https" in refused
    assert "no event 'x'" in webhooks(site, "create", "https://example.com", "-e", "x", code=2)
    assert f"no endpoint {nobody}" in webhooks(site, "delete", nobody, code=1)
    assert "not both" in webhooks(site, "replay", nobody, "--state", "failed", code=2)
    assert "no state 'lost'" in webhooks(site, "deliveries", "--state", "lost", code=2)
    assert webhooks(site, "replay", nobody, code=1) == {"replayed": [], "refused": [nobody]}


def test_a_failed_delivery_is_replayed_from_the_command_line(site: Site, rails: Rails, receiver: Receiver) -> None:
    endpoint = webhooks(site, "create", receiver.url)
    receiver.then(410)

    with running_workers(site.environment, processes=1) as workers:
        a_succeeded_job(rails, workspace_id=WORKSPACE)
        site.wait_for_jobs()
        (failed,) = webhooks(site, "deliveries", "--state", "failed")
        assert (failed["status"], failed["attempts"]) == (410, 1)
        webhooks(site, "enable", endpoint["id"])

        (replayed,) = webhooks(site, "replay", "--newer-than", "1h")["replayed"]
        workers.wait_until(lambda: len(receiver.requests) == 2)
        site.wait_for_jobs()

    assert replayed["id"] == failed["id"]
    assert webhooks(site, "deliveries")[0]["state"] == "delivered"
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_tables_for_people(site: Site, rails: Rails) -> None:
    environment = {name: site.environment[name] for name in NAMES}
    created = run("webhooks", "create", "https://example.com/hook", **environment)
    a_succeeded_job(rails, workspace_id=WORKSPACE)

    listed, told = run("webhooks", "list", **environment), run("webhooks", "deliveries", **environment)

    assert "whsec_" in created.stdout
    assert "https://example.com/hook" in listed.stdout
    assert "whsec_" not in listed.stdout
    assert "task.completed" in told.stdout
    assert "pending" in told.stdout
