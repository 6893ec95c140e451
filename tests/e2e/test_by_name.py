"""Jobs that are started by name, in a process without the actors, do what they are called."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from domain.jobs import ALIASES
from tests.builders import WORKSPACE, a_ready_document
from tests.e2e.conftest import Site
from tests.pictures import a_photo
from tests.smtp_server import Mailbox, an_smtp_server
from tests.workers import ROOT, running_workers

CODE = """
import json, sys
from adapters.producer import enqueue
print(json.dumps({name: str(enqueue(name, params)) for name, params in json.load(sys.stdin).items()}))
"""
NOTE = {"user": "ada", "kind": "invoice.paid", "title": "Paid", "body": "", "about": "", "dedup_key": "42"}
LETTER = {"to": "anna@example.com", "to_name": "Anna", "subject": "Hello {{ name }}", "text": "Dear {{ name }}."}
BLOB_KEY = f"{WORKSPACE}/dropped/by-hand.bin"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def site(own_site: Site, mailbox: Mailbox) -> Iterator[Site]:
    with an_smtp_server(mailbox) as (_, port):
        mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "SMTP_TLS": "none", "MAIL_FROM": "news@example.com"}
        own_site.environment |= mail
        yield own_site


def enqueue(site: Site, wanted: dict[str, dict[str, Any]]) -> subprocess.CompletedProcess:
    whole = {name: {"workspace_id": str(WORKSPACE), **params} for name, params in wanted.items()}
    return subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps(whole), cwd=ROOT, env=site.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_name_for_callers_does_what_it_says(site: Site, mailbox: Mailbox) -> None:
    a_ready_document(site.rails, ["Water turns the wheel."])
    blob = site.folder / "blobs" / BLOB_KEY
    blob.parent.mkdir(parents=True)
    blob.write_bytes(a_photo())
    wanted: dict[str, dict[str, Any]] = {
        "email:send": LETTER,
        "user:notification": NOTE,
        "data:export": {"format": "jsonl"},
        "file:process": {"blob_key": BLOB_KEY, "name": "who.knows"},
        "cache:warm": {},
    }
    assert wanted.keys() == ALIASES.keys()

    done = enqueue(site, wanted)
    assert done.returncode == 0, done.stderr
    jobs = {name: UUID(job_id) for name, job_id in json.loads(done.stdout).items()}
    with running_workers(site.environment, processes=1):
        site.wait_for_jobs(seconds=60)

    for name, job_id in jobs.items():
        job = site.rails.job(job_id)
        assert (job["actor"], job["state"]) == (ALIASES[name], "succeeded")
    assert [(each["To"], each["Subject"]) for each in mailbox.messages] == [("Anna <anna@example.com>", "Hello Anna")]
    assert site.rails.column("SELECT user_name FROM notifications") == ["ada"]
    assert site.rails.column("SELECT state FROM media_files ORDER BY kind") == ["ready", "ready"]  # and its thumbnail
    assert site.rails.column("SELECT id FROM exports WHERE manifest IS NOT NULL") == [jobs["data:export"]]
    assert blob.read_bytes() == a_photo()


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("email:send", {"mailing_id": str(WORKSPACE)}, "missing: subject, to; unknown: mailing_id"),
        ("email:send", {**LETTER, "to": 7}, "to must be str, not int"),
        ("email:send", {**LETTER, "to": "nobody"}, "no address"),
        ("file:process", {"blob_key": "elsewhere/key", "name": "x"}, "no blob of this workspace"),
        ("file:process", {"blob_key": f"{WORKSPACE}/gone", "name": "x"}, "no longer in storage"),
    ],
)
def test_what_cannot_be_started_by_name_is_refused(site: Site, name: str, params: dict[str, Any], words: str) -> None:
    done = enqueue(site, {name: params})

    assert done.returncode == 1
    assert words in done.stderr
    assert site.rails.count("jobs") == 0
