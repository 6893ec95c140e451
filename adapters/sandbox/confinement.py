"""What a child gives up before it looks at a stranger's file."""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

#: Descriptors for interpreter, pipes and one file. `close_the_door` takes even these.
OPEN_FILES = 64


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Give up memory, time and disk of this process for good."""
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, 0)
    lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    lower(resource.RLIMIT_CPU, cpu_seconds, grace=1)
    lower(resource.RLIMIT_AS, memory_bytes)


def close_the_door() -> None:
    """Allow no further descriptor: from here on there is no new file and no socket."""
    lower(resource.RLIMIT_NOFILE, 0)


def lower(which: int, value: int, *, grace: int = 0) -> None:
    """Lower a limit; one that is lower already stays.

    `grace` lies between soft and hard: at equal CPU limits Linux sends SIGKILL, which looks like a lack of memory.
    """
    hard = resource.getrlimit(which)[1]
    most = hard if hard != resource.RLIM_INFINITY else value + grace
    resource.setrlimit(which, (min(value, most), min(value + grace, most)))


def keep_quiet() -> None:
    """Keep what C libraries print on stderr away from the worker's log; a traceback of ours still gets there."""
    sys.stderr = open(os.dup(2), "w", encoding="utf-8", buffering=1, closefd=True)  # noqa: SIM115, PTH123 - for good
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


class Alarm:
    """A real-time alarm with the default handler: it kills even a C loop that holds the interpreter lock.

    It runs while the child works and stands still while the parent takes its time, so a slow database is nobody's
    timeout.
    """

    def __init__(self, *, step_seconds: float, wall_seconds: float) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._step_seconds = step_seconds
        self._left_seconds = wall_seconds

    def guard(self, messages: Iterator[T]) -> T | None:
        """Return the next message, or None after the last; die when it takes longer than a step or all may take."""
        granted = max(min(self._step_seconds, self._left_seconds), 0.001)
        signal.setitimer(signal.ITIMER_REAL, granted)
        message = next(messages, None)
        unused, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        self._left_seconds -= granted - unused
        return message
