"""Actors that misbehave, for `dramatiq actors tests.e2e.extra_actors`. Each run leaves a line in E2E_EFFECTS."""

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import dramatiq

from actors import broker
from domain.errors import FailureCode, ParkedError, PermanentError

QUEUE = "extra"


def leave(label: str) -> int:
    """Note one run; return how many runs with this label there are now. A short appended line is written whole."""
    with Path(os.environ["E2E_EFFECTS"]).open("a+") as file:
        file.write(f"{label}\n")
        file.flush()
        file.seek(0)
        return file.read().splitlines().count(label)


def extra(function=None, **options):
    options = {"queue_name": QUEUE, "min_backoff": 100, "max_backoff": 200, "broker": broker} | options
    return dramatiq.actor(function, **options) if function else lambda found: dramatiq.actor(found, **options)


@extra
def noop(label: str) -> None:
    leave(label)


@extra
def flaky(label: str, failures: int) -> None:
    if leave(label) <= failures:
        raise ConnectionError("not yet")


@extra(max_retries=2)
def broken(label: str) -> None:
    leave(label)
    raise ValueError("a bug")


@extra
def permanent(label: str) -> None:
    leave(label)
    raise PermanentError(FailureCode.TOO_LARGE, "It is too large. Make it smaller.")


@extra
def parking(label: str) -> None:
    if leave(label) < 3:
        raise ParkedError(FailureCode.BUDGET_EXCEEDED, "wait", retry_after=timedelta(seconds=0.2))


@extra(max_age=1)
def short_lived(label: str) -> None:
    leave(label)


@extra(time_limit=1000, max_retries=0)
def endless(label: str) -> None:
    leave(label)
    while True:
        time.sleep(0.05)


@extra(time_limit=1500)
def late_failure(label: str) -> None:
    if leave(label) == 1:
        time.sleep(0.7)
        raise ConnectionError("not yet")


@extra
def slow(label: str, seconds: float) -> None:
    leave(f"{label} runs in {os.getpid()}")
    leave(f"{label} begun")
    time.sleep(seconds)
    leave(f"{label} done")


@extra
def held(label: str, until: str) -> None:
    """Run until that label is among the effects, however slow the machine is."""
    leave(f"{label} runs in {os.getpid()}")
    leave(f"{label} begun")
    while until not in Path(os.environ["E2E_EFFECTS"]).read_text().splitlines():
        time.sleep(0.05)
    leave(f"{label} done")


@extra
def drained(label: str) -> None:
    """Run until this thread is told to take no more jobs, and half a second longer."""
    leave(f"{label} begun")
    while threading.current_thread().running:  # type: ignore[attr-defined]  # dramatiq's WorkerThread
        time.sleep(0.05)
    time.sleep(0.5)
    leave(f"{label} done")


@extra
def crashing(label: str) -> None:
    leave(label)
    os.kill(os.getpid(), signal.SIGKILL)
