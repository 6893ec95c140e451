"""What a leash promises: nothing outlives the owner, and nothing is left behind by what ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.embedded.errors import EmbeddedError
from adapters.embedded.processes import LeashedProcess, StopSteps

QUICK_STOP: StopSteps = ((signal.SIGTERM, 0.5),)
IGNORE_TERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
)
# A child in a session of its own, which a process group's signal does not reach.
FAMILY = (
    "import subprocess, time; c = subprocess.Popen(['sleep', '98'], start_new_session=True); print(c.pid, flush=True)"
)

Start = Callable[..., LeashedProcess]


def is_gone(pid: int) -> bool:
    """Zombies count as gone: whoever should collect them may be slow."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def start(output: Path) -> Iterator[Start]:
    """Start a Python program on a leash."""
    started = []

    def start(code: str, stop_steps: StopSteps = QUICK_STOP) -> LeashedProcess:
        with output.open("ab") as file:
            process = LeashedProcess([sys.executable, "-c", code], output=file.fileno(), stop_steps=stop_steps)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def test_the_exit_code_comes_through(start: Start) -> None:
    assert start("raise SystemExit(78)").wait(10) == 78


def test_no_end_is_missed_however_quick(output: Path) -> None:
    with output.open("wb") as file:
        processes = [LeashedProcess(["false"], output=file.fileno()) for _ in range(30)]
        assert {process.wait(10) for process in processes} == {1}


def test_a_signal_becomes_a_shell_like_exit_code(start: Start) -> None:
    assert start("import os; os.kill(os.getpid(), 9)").wait(10) == 128 + 9


def test_what_it_prints_arrives(start: Start, output: Path) -> None:
    start("import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)").wait(10)
    assert output.read_text() == "out\nerr\n"


def test_a_missing_program_is_an_error_at_once(output: Path) -> None:
    with output.open("wb") as file, pytest.raises(EmbeddedError, match="could not be started"):
        LeashedProcess(["/no/such/program"], output=file.fileno())
    assert "No such file" in output.read_text()


def test_a_stubborn_program_is_killed_after_its_grace(start: Start, output: Path) -> None:
    process = start(IGNORE_TERM)
    wait_until(lambda: "up" in output.read_text())
    began = time.monotonic()
    assert process.stop() == 128 + 9
    assert 0.4 < time.monotonic() - began < 3


def test_kill_does_not_wait_for_the_grace(start: Start, output: Path) -> None:
    process = start(IGNORE_TERM, stop_steps=((signal.SIGTERM, 60.0),))
    wait_until(lambda: "up" in output.read_text())
    process.ask_to_stop()
    process.kill()
    assert process.wait(5) == 128 + 9


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a child subreaper")
@pytest.mark.parametrize("ending", ["", "time.sleep(97)"], ids=["ends by itself", "is stopped"])
def test_descendants_in_other_sessions_go_too(start: Start, output: Path, ending: str) -> None:
    process = start(f"{FAMILY}; {ending}")
    wait_until(lambda: output.exists() and output.read_text().endswith("\n"))
    if ending:
        process.stop()
    process.wait(10)
    assert is_gone(int(output.read_text()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a parent death signal")
def test_the_program_dies_with_a_killed_leash(start: Start) -> None:
    process = start("import time; time.sleep(96)")
    os.kill(process.leash_pid, signal.SIGKILL)
    wait_until(lambda: is_gone(process.pid))
    assert process.poll() == 128 + 9


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_program_dies_with_its_owner(tmp_path: Path, signum: signal.Signals) -> None:
    owner_code = (
        "import sys, time; from adapters.embedded.processes import LeashedProcess;"
        "p = LeashedProcess([sys.executable, '-c', 'import time; time.sleep(95)'], output=2);"
        "print(p.pid, p.leash_pid, flush=True); time.sleep(95)"
    )
    owner = subprocess.Popen([sys.executable, "-c", owner_code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout
    pids = [int(word) for word in owner.stdout.readline().split()]
    owner.send_signal(signum)
    owner.wait(10)
    owner.stdout.close()
    assert len(pids) == 2
    wait_until(lambda: all(map(is_gone, pids)))


def test_a_leash_whose_stdin_leaked_still_sees_its_owner_die() -> None:
    """A fork of the owner, such as a multiprocessing child, keeps the pipe open after the owner's death."""
    owner_code = (
        "import os, sys, time; from adapters.embedded.processes import LeashedProcess;"
        "p = LeashedProcess([sys.executable, '-c', 'import time; time.sleep(94)'], output=2);"
        "fork = os.fork() or time.sleep(5) or os._exit(0);"
        "print(p.pid, p.leash_pid, flush=True); time.sleep(95)"
    )
    owner = subprocess.Popen([sys.executable, "-c", owner_code], stdout=subprocess.PIPE)
    assert owner.stdout
    pids = [int(word) for word in owner.stdout.readline().split()]
    owner.kill()
    owner.wait(10)
    owner.stdout.close()
    assert len(pids) == 2
    wait_until(lambda: all(map(is_gone, pids)), seconds=4)
