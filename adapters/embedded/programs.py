"""What a supervisor runs, and one run of it: its process, its output, when to start it again."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.processes import LeashedProcess, StopSteps

WORKER_STOP: StopSteps = ((signal.SIGTERM, 30.0),)
WRONG_CONFIGURATION = 78  # EX_CONFIG: starting again cannot help

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 10.0
LAST_LINES = 12
LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """A command to keep running. `environment` None: the supervisor's own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    stop_steps: StopSteps = WORKER_STOP


class ProgramRun:
    """A program over its restarts."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: LeashedProcess | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.output = -1
        self.at_end = False
        self.restart_at: float | None = None
        self._unfinished = b""
        self._failures = 0
        self._started_at = 0.0

    def start(self) -> None:
        """Start it with a fresh pipe for its output."""
        self.at_end = False
        self.restart_at = None
        self._started_at = time.monotonic()
        self.last_lines.clear()
        self.output, theirs = os.pipe()
        os.set_blocking(self.output, False)
        try:
            program = self.program
            self.process = LeashedProcess(
                program.command,
                output=theirs,
                stop_steps=program.stop_steps,
                environment=program.environment,
                folder=program.folder,
            )
        finally:
            os.close(theirs)

    def read_lines(self) -> Iterator[str]:
        """Yield the lines that have arrived, without line ends; a line too long comes in pieces."""
        while block := self._read_block():
            *lines, self._unfinished = (self._unfinished + block).split(b"\n")
            if len(self._unfinished) > LINE_BYTES:
                lines, self._unfinished = [*lines, self._unfinished], b""
            yield from map(self._remember, lines)

    def ended(self) -> int | None:
        """Return the exit code once, after the process is gone, else None."""
        if self.process is None:
            return None
        if self.at_end:  # the leash held the pipe to its end, so it is about to be gone
            with suppress(TimeoutError):
                self.process.wait(1.0)
        if (code := self.process.poll()) is None:
            return None
        self.process = None
        return code

    def rest(self) -> Iterator[str]:
        """Yield what was still in the pipe, a line without end too, and close it."""
        yield from self.read_lines()
        if self._unfinished:
            yield self._remember(self._unfinished)
        self._unfinished = b""
        os.close(self.output)
        self.output = -1

    def plan_restart(self) -> float:
        """Decide when to start again; return the pause in seconds, longer after each early end."""
        self._failures = 0 if self.seconds > HEALTHY_SECONDS else self._failures + 1
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** max(self._failures - 1, 0), LONGEST_PAUSE_SECONDS)
        self.restart_at = time.monotonic() + pause
        return pause

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._started_at

    def _read_block(self) -> bytes:
        try:
            block = os.read(self.output, LINE_BYTES)
        except BlockingIOError:
            return b""
        self.at_end = not block
        return block

    def _remember(self, line: bytes) -> str:
        text = line.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        return text
