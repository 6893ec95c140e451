"""The commands that run workers, scheduler and API, from a checkout and from a wheel alike."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

#: The folder that `actors` is imported from: the checkout, or site-packages.
ROOT = Path(__file__).resolve().parents[2]

DEFAULT_PROCESSES, DEFAULT_THREADS = 2, 4


def worker_command(
    environment: Sequence[str] = (), *, processes: int, threads: int, queues: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs workers. `environment`: NAME=value each, on top of what is inherited."""
    command = [sys.executable, "-m", "dramatiq", "actors", "--path", str(ROOT)]
    sizes = ["--processes", str(processes), "--threads", str(threads)]
    return [*_prefix(environment), *command, *sizes, *(["--queues", *queues] if queues else [])]


def scheduler_command(environment: Sequence[str] = ()) -> list[str]:
    """Return the command that runs the scheduler. Periodiq cannot be run with `-m`."""
    run = "from periodiq import entrypoint; entrypoint()"
    return [*_prefix(environment), sys.executable, "-c", run, "actors", "--path", str(ROOT)]


def api_command(environment: Sequence[str] = ()) -> list[str]:
    """Return the command that serves the HTTP API."""
    return [*_prefix(environment), sys.executable, "-m", "adapters.api"]


def has_api() -> bool:
    """Tell whether the packages that the HTTP API needs are installed."""
    return all(find_spec(name) is not None for name in ("fastapi", "uvicorn", "python_multipart", "websockets"))


def _prefix(environment: Sequence[str]) -> list[str]:
    """Hand settings over with env(1), and our modules: an `actors` package where the person stands is not ours."""
    path = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, sys.path)]))
    return ["env", *environment, f"PYTHONPATH={path}", "PYTHONSAFEPATH=1"]


def become(command: list[str]) -> NoReturn:
    """Let the command take this process's place, so that signals reach it directly."""
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - there is no shell to start
