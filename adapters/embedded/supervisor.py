"""Keep a set of programs running, in one thread, until someone says stop."""

import contextlib
import os
import selectors
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from adapters.embedded.errors import EmbeddedError
from adapters.embedded.programs import WRONG_CONFIGURATION, Program, ProgramRun

LOOK_SECONDS = 1.0
OWN_NAME = "headrace"
FAILED = 1


class Server(Protocol):
    """A server of the stack, watched and started again if it dies."""

    name: str

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        ...

    def start(self) -> None:
        """Start it, again too. Raises EmbeddedError."""
        ...


class Supervisor:
    """Start programs in order, start again what ends, stop all in reverse order.

    What they print goes to `output`, a line at a time, behind their name. A program that exits with 78 is not started
    again: its configuration is wrong, and its last lines say how.
    """

    def __init__(self, programs: Sequence[Program], *, output: BinaryIO, servers: Sequence[Server] = ()) -> None:
        self._runs = [ProgramRun(program) for program in programs]
        self._servers = servers
        self._output = output
        self._width = max(len(name) for name in [OWN_NAME, *(program.name for program in programs)])
        self._selector = selectors.DefaultSelector()
        self._doorbell, self._bell_wire = os.pipe()
        self._code = 0
        self._stop_requests = 0

    def run(self) -> int:
        """Block, once, until SIGINT, SIGTERM or `request_stop`, or until nothing is left to run.

        A second signal kills at once. Returns 0 after a stop, 78 if only wrongly configured programs are left, 1 if a
        server cannot be started again.
        """
        with self._listening():
            try:
                for run in self._runs:
                    self._start(run)
                while not self._stop_requests and self._has_work():
                    self._turn()
            finally:
                self._stop_all()
        return self._code

    def request_stop(self) -> None:
        """Ask `run` to stop everything and return; a second call kills. For other threads and signal handlers."""
        if not self._stop_requests:
            self._code = 0  # who was told of a wrong configuration and let the others run has had what they wanted
        self._stop_requests += 1
        os.write(self._bell_wire, b"!")

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Turn signals into a readable descriptor, and give everything back afterwards."""
        self._selector.register(self._doorbell, selectors.EVENT_READ)
        before = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                before[signum] = signal.signal(signum, lambda *_: self.request_stop())
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            self._selector.close()
            os.close(self._doorbell)
            os.close(self._bell_wire)

    def _has_work(self) -> bool:
        return any(run.process or run.restart_at is not None for run in self._runs)

    def _turn(self) -> None:
        """Wait for output, an end, a due restart or a signal, and deal with it."""
        self._forward(self._seconds_until_restart())
        if self._stop_requests:
            return
        for run in self._runs:
            if (code := run.ended()) is not None:
                self._finish(run)
                self._after_end(run, code)
            if run.restart_at is not None and run.restart_at <= time.monotonic():
                self._start(run)
        for server in self._servers:
            self._mend(server)

    def _seconds_until_restart(self) -> float:
        dues = [run.restart_at - time.monotonic() for run in self._runs if run.restart_at is not None]
        return max(0.0, min([LOOK_SECONDS, *dues]))

    def _start(self, run: ProgramRun) -> None:
        try:
            run.start()
        except EmbeddedError:
            self._say_all(run.program.name, run.rest())
            self._after_end(run, FAILED)
        else:
            self._selector.register(run.output, selectors.EVENT_READ, run)

    def _forward(self, seconds: float) -> None:
        """Pass on what was printed; the end of a pipe is the quickest sign that its program ended."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, ProgramRun):
                self._say_all(key.data.program.name, key.data.read_lines())
                self._stop_listening_to_the_dead(key.data)
            else:
                os.read(self._doorbell, 64)

    def _stop_listening_to_the_dead(self, run: ProgramRun) -> None:
        """A pipe at its end is always readable: we would spin while another program takes its time to stop."""
        if run.at_end:
            with contextlib.suppress(KeyError):
                self._selector.unregister(run.output)

    def _finish(self, run: ProgramRun) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(run.output)
        self._say_all(run.program.name, run.rest())

    def _after_end(self, run: ProgramRun, code: int) -> None:
        name = run.program.name
        if code == WRONG_CONFIGURATION:
            self._code = WRONG_CONFIGURATION
            self._say(OWN_NAME, f"{name} cannot run with this configuration (exit code {code}); it said:")
            self._say_all(OWN_NAME, (f"    {line}" for line in list(run.last_lines)))
            return
        ran = run.seconds
        pause = run.plan_restart()
        self._say(OWN_NAME, f"{name} ended with code {code} after {ran:.1f} s; starting it again in {pause:.1f} s")

    def _mend(self, server: Server) -> None:
        if (code := server.poll()) is None:
            return
        self._say(OWN_NAME, f"{server.name} ended with code {code}; starting it again")
        try:
            server.start()
        except EmbeddedError as error:
            self._say(OWN_NAME, str(error))
            self._code = FAILED
            self._stop_requests += 1

    def _stop_all(self) -> None:
        """Stop the programs one after the other, last started first; all at once when asked twice."""
        for run in reversed(self._runs):
            if run.process is None:
                continue
            run.process.ask_to_stop()
            while run.ended() is None:
                if self._stop_requests > 1:
                    self._kill_all()
                self._forward(LOOK_SECONDS)
            self._finish(run)

    def _kill_all(self) -> None:
        for run in self._runs:
            if run.process is not None:
                run.process.kill()

    def _say_all(self, name: str, lines: Iterator[str]) -> None:
        for line in lines:
            self._say(name, line)

    def _say(self, name: str, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed terminal must not end the programs' supervision
            self._output.write(f"{name:<{self._width}} | {text}\n".encode())
            self._output.flush()
