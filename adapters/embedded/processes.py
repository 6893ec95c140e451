"""One child process on a leash, seen from its owner."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.embedded.accounts import Account
from adapters.embedded.errors import EmbeddedError

LEASH = Path(__file__).with_name("leash.py")

StopSteps = Sequence[tuple[signal.Signals, float]]
GENTLE_STOP: StopSteps = ((signal.SIGTERM, 10.0),)


class LeashedProcess:
    """A running command that ends when its owner does, however the owner ends. See leash.py for the rules."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: int,
        stop_steps: StopSteps = GENTLE_STOP,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Start it. `output` is the descriptor for everything it prints.

        `keep_open` are descriptors (a lock) that the leash, not the command, holds for as long as the command lives.
        """
        self._stop_steps = stop_steps
        self._leash = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LEASH), *_options(stop_steps, account), "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            cwd=folder,
            pass_fds=keep_open,
            start_new_session=True,  # a Ctrl-C at the terminal is the owner's business; it stops us in order
        )
        try:
            self.pid = self._read_pid(command[0])
        except BaseException:  # an interrupt, too: nobody would know of it any more
            self.ask_to_stop()
            self._leash.wait()
            raise

    def _read_pid(self, program: str) -> int:
        assert self._leash.stdout is not None  # noqa: S101
        with self._leash.stdout as answer:
            line = answer.readline()
        if not line:
            raise EmbeddedError(f"{program} could not be started; its log says why")
        return int(line)

    @property
    def leash_pid(self) -> int:
        """The pid of the leash itself."""
        return self._leash.pid

    def poll(self) -> int | None:
        """Return the command's exit code, 128 + n after signal n, or None while it runs."""
        code = self._leash.poll()
        if code is None or code >= 0:
            return code
        # Someone shot the leash. The kernel has told the command to stop (Linux); see it out.
        if _group_lives(self.pid):
            self._end_orphans()
        return 128 - code

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutError."""
        try:
            self._leash.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_seconds} s") from None
        return self.poll() or 0

    def ask_to_stop(self) -> None:
        """Let go of the leash: it stops the command step by step. Returns at once."""
        if self._leash.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._leash.stdin.close()

    def stop(self) -> int:
        """Stop the command, wait until its last process is gone, return its exit code."""
        self.ask_to_stop()
        return self.wait()

    def kill(self) -> None:
        """Kill the command and all its processes now."""
        if self._leash.poll() is None:
            self._leash.send_signal(signal.SIGQUIT)
        self.ask_to_stop()

    def _end_orphans(self) -> None:
        deadline = time.monotonic() + sum(seconds for _, seconds in self._stop_steps)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, self._stop_steps[0][0])
        while _group_lives(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _options(stop_steps: StopSteps, account: Account | None) -> list[str]:
    options = [f"--stop={signum.name.removeprefix('SIG')}:{seconds}" for signum, seconds in stop_steps]
    if account is not None:
        options += [f"--uid={account.uid}", f"--gid={account.gid}"]
    return options


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
