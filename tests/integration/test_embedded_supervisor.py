"""A supervisor keeps programs running, says what happens, and leaves nothing behind."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.embedded.errors import EmbeddedError
from adapters.embedded.programs import Program
from adapters.embedded.supervisor import Supervisor

STAY = "print('up', flush=True); import time; time.sleep(92)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY
# Appends a line to its file at each start and at its orderly end.
DIARY = (
    "import signal, sys, time; from pathlib import Path; diary = Path('{diary}').open('a', buffering=1);"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(diary.write('{name} stops\\n') * 0));"
    "diary.write('{name} starts\\n'); print('up', flush=True); time.sleep(91)"
)


def program(name: str, code: str, grace_seconds: float = 5.0) -> Program:
    return Program(name, [sys.executable, "-c", code], stop_steps=((signal.SIGTERM, grace_seconds),))


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Running:
    """A supervisor in a thread of the test."""

    def __init__(self, programs: Sequence[Program], servers: Sequence["DyingServer"] = ()) -> None:
        self._output = io.BytesIO()
        self.supervisor = Supervisor(programs, output=self._output, servers=servers)
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.code = self.supervisor.run()

    @property
    def lines(self) -> list[str]:
        return self._output.getvalue().decode().splitlines()

    def has_said(self, text: str, times: int = 1) -> bool:
        return "\n".join(self.lines).count(text) >= times


@contextmanager
def running(*programs: Program, servers: Sequence["DyingServer"] = ()) -> Iterator[Running]:
    it = Running(programs, servers)
    it.thread.start()
    try:
        yield it
    finally:
        if it.thread.is_alive():
            it.supervisor.request_stop()
            it.supervisor.request_stop()
        it.thread.join(20)
        assert not it.thread.is_alive()


class DyingServer:
    """A server that is found dead once, and may refuse to come back."""

    name = "postgres"

    def __init__(self, *, comes_back: bool) -> None:
        self.starts = 0
        self._comes_back = comes_back

    def poll(self) -> int | None:
        return None if self.starts else 137

    def start(self) -> None:
        self.starts += 1
        if not self._comes_back:
            raise EmbeddedError("the disk is full")


def test_output_comes_line_by_line_behind_the_name() -> None:
    with running(program("worker", STAY), program("tick", STAY)) as it:
        wait_until(lambda: it.has_said("up", times=2))
    assert "worker   | up" in it.lines
    assert "tick     | up" in it.lines


def test_a_program_that_ends_is_started_again_within_a_second() -> None:
    with running(program("worker", "print('up', flush=True); raise SystemExit(1)")) as it:
        wait_until(lambda: it.has_said("| up"))
        began = time.monotonic()
        wait_until(lambda: it.has_said("| up", times=2))
        assert time.monotonic() - began < 1.0
    assert it.has_said("worker ended with code 1")


def test_the_pause_grows_while_a_program_keeps_failing() -> None:
    with running(program("worker", "raise SystemExit(1)")) as it:
        wait_until(lambda: it.has_said("again in 0.8 s"))
    pauses = [line.rpartition("again in ")[2] for line in it.lines if "again in" in line]
    assert pauses[:3] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_wrong_configuration_is_reported_and_not_tried_again() -> None:
    code = "import sys; print('DATABASE_URL is missing', file=sys.stderr); sys.exit(78)"
    with running(program("worker", code)) as it:
        it.thread.join(10)
    assert it.code == 78
    assert it.has_said("worker cannot run with this configuration")
    assert it.has_said("DATABASE_URL is missing", times=2)
    assert not it.has_said("again")


def test_a_wrong_configuration_of_one_does_not_stop_the_others() -> None:
    with running(program("worker", "raise SystemExit(78)"), program("tick", STAY)) as it:
        wait_until(lambda: it.has_said("cannot run"))
        time.sleep(0.3)
        assert it.thread.is_alive()
    assert it.code == 0


def test_a_program_that_does_not_exist_is_tried_again_with_its_reason() -> None:
    with running(Program("worker", ["/no/such/program"])) as it:
        wait_until(lambda: it.has_said("again in 0.4 s"))
    assert it.has_said("No such file or directory")


def test_programs_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    names = ["first", "second"]
    with running(*(program(name, DIARY.format(diary=diary, name=name)) for name in names)) as it:
        wait_until(lambda: it.has_said("up", times=2))
        it.supervisor.request_stop()
        it.thread.join(10)
    assert it.code == 0
    assert diary.read_text().splitlines()[2:] == ["second stops", "first stops"]


def test_a_second_request_kills_at_once() -> None:
    with running(program("worker", STUBBORN, grace_seconds=60)) as it:
        wait_until(lambda: it.has_said("up"))
        it.supervisor.request_stop()
        time.sleep(0.3)
        assert it.thread.is_alive()
        it.supervisor.request_stop()
        it.thread.join(3)
        assert not it.thread.is_alive()


def test_a_very_long_line_and_a_last_one_without_end_arrive() -> None:
    with running(program("worker", "import sys; sys.stdout.write('x' * 300_000 + '\\nthe end'); sys.exit(78)")) as it:
        it.thread.join(10)
    assert sum(line.count("x") for line in it.lines if line.startswith("worker")) == 300_000
    assert "worker   | the end" in it.lines


def test_a_dead_server_is_started_again() -> None:
    server = DyingServer(comes_back=True)
    with running(program("worker", STAY), servers=[server]) as it:
        wait_until(lambda: server.starts == 1)
        assert it.has_said("postgres ended with code 137")


def test_a_server_that_does_not_come_back_ends_everything() -> None:
    with running(program("worker", STAY), servers=[DyingServer(comes_back=False)]) as it:
        it.thread.join(10)
    assert it.code == 1
    assert it.has_said("the disk is full")


def test_no_thread_and_no_descriptor_is_left() -> None:
    before = threading.active_count(), len(os.listdir("/dev/fd"))  # noqa: PTH208
    with running(program("worker", "raise SystemExit(1)"), program("tick", STAY)) as it:
        wait_until(lambda: it.has_said("again in 0.4 s"))
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before  # noqa: PTH208


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_in_order_with_exit_code_zero(signum: signal.Signals) -> None:
    code = (
        "import sys; from adapters.embedded.programs import Program;"
        "from adapters.embedded.supervisor import Supervisor;"
        f"worker = Program('worker', [sys.executable, '-c', {STAY!r}]);"
        "sys.exit(Supervisor([worker], output=sys.stdout.buffer).run())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert "up" in owner.stdout.readline()
        owner.send_signal(signum)
        assert owner.wait(10) == 0
