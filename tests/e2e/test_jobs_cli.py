"""`headrace jobs` and `headrace replace` as people and scripts use them, over real servers."""

import json
import os
import pty
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import FailureCode
from domain.ledger import Failure
from tests.builders import (
    Rails,
    a_failed_document,
    a_failed_job,
    a_pdf,
    a_pending_job,
    a_running_job,
)
from tests.e2e.conftest import Site
from tests.e2e.test_cli import COMMAND, ROOT, run
from tests.integration.conftest import EMPTY


@pytest.fixture
def site(module_site: Site) -> Site:
    module_site.rails.connection.execute(EMPTY)
    return module_site


@pytest.fixture
def rails(site: Site) -> Rails:
    return site.rails


NAMES = ("DATABASE_URL", "REDIS_URL", "BLOB_URL")


def jobs(site: Site, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run("jobs", *arguments, **{name: site.environment[name] for name in NAMES}, **more)


def as_json(site: Site, *arguments: str, code: int = 0) -> Any:
    done = jobs(site, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def states(rails: Rails) -> list[str]:
    return rails.column("SELECT state FROM jobs ORDER BY created_at")


def a_broken_job(rails: Rails, code: FailureCode = FailureCode.TOO_LARGE, **fields: Any) -> UUID:
    lease = a_running_job(rails, **fields).lease
    assert rails.ledger.fail(lease.job_id, lease, Failure(code, f"It is {code}.", f"print-{code}"))
    return lease.job_id


# List and show


def test_jobs_are_listed_and_filtered(site: Site, rails: Rails) -> None:
    broken, _waiting = a_broken_job(rails), a_pending_job(rails)

    assert len(as_json(site, "list")) == 2
    assert [job["id"] for job in as_json(site, "list", "--state", "failed")] == [str(broken)]
    assert [job["id"] for job in as_json(site, "list", "--code", "too_large", "--newer-than", "10m")] == [str(broken)]
    assert as_json(site, "list", "--older-than", "1h") == []
    table = jobs(site, "list").stdout
    assert str(broken) in table
    assert "print-too_large" in table


def test_no_job_fits_is_an_answer(site: Site) -> None:
    done = jobs(site, "list", "--queue", "nothing")

    assert (done.returncode, done.stdout) == (0, "")
    assert "No job fits" in done.stderr


def test_a_job_is_shown_with_arguments_attempts_tracebacks_and_its_document(site: Site, rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = str(rails.document(document_id)["job_id"])

    shown = as_json(site, "show", dead)
    assert shown["job"]["message"]["kwargs"]["document_id"] == str(document_id)
    assert shown["job"]["document_state"] == "failed"
    assert shown["attempts"][0]["traceback"] == "Traceback …"

    plain, long = jobs(site, "show", dead).stdout, jobs(site, "show", dead, "--traceback").stdout
    assert str(document_id) in plain
    assert "It broke." in plain
    assert "Traceback …" not in plain
    assert "Traceback …" in long


def test_an_unknown_job_is_one_sentence(site: Site) -> None:
    nobody = str(uuid4())

    done = jobs(site, "show", nobody)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert nobody in done.stderr


# Retry


def test_a_named_job_is_retried_without_a_question(site: Site, rails: Rails) -> None:
    dead = a_failed_job(rails)

    done = jobs(site, "retry", str(dead))

    assert (done.returncode, done.stdout) == (0, "1 job run again.\n")
    assert states(rails) == ["pending"]


def test_a_dead_document_is_retried_once_and_names_its_new_job(site: Site, rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = str(rails.document(document_id)["job_id"])

    (done,) = as_json(site, "retry", dead)["done"]
    assert done == {"job_id": dead, "new_job_id": str(rails.document(document_id)["job_id"])}

    again = as_json(site, "retry", dead, code=1)
    assert again["refused"] == [{"job_id": dead, "reason": f"job {done['new_job_id']} has taken its place"}]
    assert as_json(site, "list", "--state", "failed") == []
    assert len(as_json(site, "list", "--state", "failed", "--replayed")) == 1


def test_one_refusal_does_not_stop_the_others(site: Site, rails: Rails) -> None:
    dead, nobody = a_failed_job(rails), uuid4()

    done = jobs(site, "retry", str(nobody), str(dead))

    assert done.returncode == 1
    assert done.stdout == "1 job run again, 1 refused.\n"
    assert f"{nobody}: there is no such job." in done.stderr
    assert states(rails) == ["pending"]


def test_a_dry_run_counts_by_cause_and_touches_nothing(site: Site, rails: Rails) -> None:
    for code in (FailureCode.TOO_LARGE, FailureCode.TOO_LARGE, FailureCode.EXPIRED):
        a_broken_job(rails, code)

    counted = as_json(site, "retry", "--all", "--dry-run")
    shown = jobs(site, "retry", "--all", "--dry-run")

    assert [(group["failure_code"], group["jobs"]) for group in counted["groups"]] == [("too_large", 2), ("expired", 1)]
    assert counted["jobs"] == 3
    assert shown.stdout == "3 jobs to retry.\n"
    assert "print-too_large" in shown.stderr
    assert states(rails) == ["failed"] * 3


def test_a_filter_retries_what_fits_and_nothing_else(site: Site, rails: Rails) -> None:
    for code in (FailureCode.TOO_LARGE, FailureCode.TOO_LARGE, FailureCode.EXPIRED):
        a_broken_job(rails, code)

    done = as_json(site, "retry", "--code", "too_large", "--limit", "1", "--yes")

    assert len(done["done"]) == 1
    assert sorted(states(rails)) == ["failed", "failed", "pending"]


def test_a_retry_keeps_the_rate(site: Site, rails: Rails) -> None:
    for _ in range(5):
        a_failed_job(rails)

    done = as_json(site, "retry", "--all", "--yes", "--rate", "5")

    assert len(done["done"]) == 5
    times = rails.column("SELECT extract(epoch FROM available_at)::float8 FROM jobs ORDER BY available_at")
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.15


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["retry"], "which jobs?"),
        (["discard"], "--all"),
        (["cancel", "--all"], "--yes"),
        (["retry", "--all", "--json"], "--yes"),
        (["retry", "not-an-id"], "must be a UUID"),
        (["retry", str(uuid4()), "--queue", "x"], "not both"),
        (["retry", "--older-than", "soon", "--yes"], "10m"),
        (["retry", "--state", "running", "--yes"], "cancelled, failed, not running"),
        (["list", "--state", "lost"], "there is no state 'lost'"),
        (["list", "--workspace", "nix"], "there is no workspace 'nix'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_touches_nothing(
    site: Site, rails: Rails, arguments: list[str], fault: str
) -> None:
    a_failed_job(rails)

    done = jobs(site, *arguments)

    assert done.returncode == 2
    assert fault.casefold() in done.stderr.casefold()
    assert len(done.stderr.splitlines()) == 1
    assert states(rails) == ["failed"]


@pytest.mark.parametrize(("answer", "left", "code"), [("y", [], 0), ("n", ["failed", "failed"], 1)])
def test_on_a_terminal_a_person_is_asked(site: Site, rails: Rails, answer: str, left: list[str], code: int) -> None:
    for _ in range(2):
        a_failed_job(rails)

    shown, returned = on_a_terminal(site, ["jobs", "discard", "--all"], answer)

    assert "Discard 2 jobs?" in shown
    assert "fingerprint" in shown, "it is told first what it would touch"
    assert (states(rails), returned) == (left, code)


def on_a_terminal(site: Site, arguments: list[str], answer: str) -> tuple[str, int]:
    """Run a command on a terminal of its own and answer its one question."""
    mine, theirs = pty.openpty()
    environment = os.environ | {name: site.environment[name] for name in NAMES} | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=site.folder
    ) as process:
        os.close(theirs)
        shown, deadline = "", time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                shown += os.read(mine, 4096).decode()
            except OSError:  # the other side closed: the process ended
                break
            if "?" in shown and answer:
                os.write(mine, f"{answer}\n".encode())
                answer = ""
        os.close(mine)
    return shown, process.returncode


# Cancel and discard


def test_waiting_jobs_are_cancelled_at_once_and_running_ones_are_asked(site: Site, rails: Rails) -> None:
    waiting, running = a_pending_job(rails), a_running_job(rails).lease.job_id

    assert len(as_json(site, "cancel", "--queue", "test", "--yes")["done"]) == 2

    assert rails.job(waiting)["state"] == "cancelled"
    assert rails.job(running)["cancel_requested_at"] is not None


def test_a_job_that_has_ended_is_not_cancelled(site: Site, rails: Rails) -> None:
    dead = a_failed_job(rails)

    done = jobs(site, "cancel", str(dead))

    assert done.returncode == 1
    assert "it has ended" in done.stderr


def test_dead_letters_are_discarded_with_their_attempts(site: Site, rails: Rails) -> None:
    a_broken_job(rails, FailureCode.EXPIRED)
    kept = a_broken_job(rails)

    assert jobs(site, "discard", "--code", "expired", "--yes").stdout == "1 job discarded.\n"

    assert rails.column("SELECT id FROM jobs") == rails.column("SELECT job_id FROM job_attempts") == [kept]


@pytest.mark.parametrize(("variable", "is_coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True)])
def test_no_color_is_respected(site: Site, rails: Rails, variable: str, is_coloured: bool) -> None:
    a_failed_job(rails)

    assert ("\x1b[" in jobs(site, "list", **{variable: "1"}).stdout) is is_coloured


# Replace


def test_a_new_version_is_uploaded(site: Site, rails: Rails, tmp_path: Path) -> None:
    document_id = site.upload(a_pdf("The first edition.")).document_id
    file = tmp_path / "second.pdf"
    file.write_bytes(a_pdf("The second edition."))
    variables = {name: site.environment[name] for name in NAMES}

    first = json.loads(run("replace", str(document_id), str(file), "--json", **variables).stdout)
    again = run("replace", str(document_id), "-", stdin=file.read_bytes(), **variables)

    assert first["is_new"] is True
    assert str(rails.document(document_id)["job_id"]) == first["job_id"]
    assert again.stdout == f"{document_id} has these bytes already.\n"


@pytest.mark.parametrize(("what", "code"), [("missing", 2), ("notes", 1), ("nobody", 1)])
def test_a_version_that_cannot_be_is_one_sentence(site: Site, tmp_path: Path, what: str, code: int) -> None:
    document_id = str(uuid4()) if what == "nobody" else str(site.upload(a_pdf(what)).document_id)
    file = tmp_path / f"{what}.pdf"
    if what != "missing":
        file.write_bytes(b"no PDF" if what == "notes" else a_pdf("Nobody's."))

    done = run("replace", document_id, str(file), **{name: site.environment[name] for name in NAMES})

    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
