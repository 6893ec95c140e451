"""Run one command that must not outlive its owner.

    python -I leash.py [--uid N --gid N] [--stop SIGNAL:SECONDS]... -- COMMAND [ARGUMENT]...

Standard library only: it is started by path, so that it works before and without the rest of the project. The command
runs in a session of its own; its output goes to the leash's stderr, and its pid is the one line on the leash's stdout.

The owner holds the other end of the leash's stdin. When that closes (the owner let go, or died, even by kill -9), when
the owner's pid is no longer the parent, or on SIGTERM, SIGINT and SIGHUP, each `--stop` step is tried in turn; whatever
is left of the command's process group, and on Linux of all its descendants, is then killed. SIGQUIT kills at once.
When the command ends by itself its remains are stopped the same way. Exits with the command's code, 128 + n after
signal n, 127 if it could not be started.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ON_LINUX = sys.platform.startswith("linux")

OWNER_CHECK_SECONDS = 1.0
STOP_CHECK_SECONDS = 0.05
KILL_SECONDS = 10.0
CANNOT_START = 127

Step = tuple[signal.Signals, float]


class Leash:
    """One command, watched from its start until the last process of it is gone."""

    def __init__(self, command: Sequence[str], steps: Sequence[Step], uid: int | None, gid: int | None) -> None:
        self._command = command
        self._steps = steps
        self._uid = uid
        self._gid = gid
        self._pid = 0
        self._code: int | None = None
        self._stop_wanted = False
        self._kill_wanted = False

    def run(self) -> int:
        """Start the command, wait for its end or for a reason to stop it, and leave nothing behind."""
        owner = os.getppid()
        doorbell = self._listen_to_signals()
        _adopt_orphans()
        self._start()
        try:
            while self._code is None and not self._stop_wanted and os.getppid() == owner:
                self._wait(doorbell, watch_stdin=True, seconds=OWNER_CHECK_SECONDS)
        finally:
            self._stop(doorbell)
        return CANNOT_START if self._code is None else self._code

    def _listen_to_signals(self) -> int:
        """Return a descriptor that becomes readable with every signal."""
        doorbell, bell_wire = os.pipe()
        os.set_blocking(doorbell, False)
        os.set_blocking(bell_wire, False)
        signal.set_wakeup_fd(bell_wire, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGQUIT, self._on_kill_signal)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_stop_signal)
        return doorbell

    def _on_stop_signal(self, *_: object) -> None:
        self._stop_wanted = True

    def _on_kill_signal(self, *_: object) -> None:
        self._stop_wanted = self._kill_wanted = True

    def _start(self) -> None:
        first_signal = self._steps[0][0] if self._steps else signal.SIGKILL
        # Kept for life: a Popen that is collected waits for its child, and the exit code would be lost to us.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
            user=self._uid,
            group=self._gid,
            extra_groups=None if self._uid is None else [],
            # Safe although it runs between fork and exec: the leash has one thread. Python changes the user first,
            # which matters, because that would reset the death signal.
            preexec_fn=_die_with_parent(os.getpid(), first_signal),  # noqa: PLW1509
        )
        self._pid = self._process.pid
        with contextlib.suppress(BrokenPipeError):  # the owner is gone already; the end of stdin will tell
            os.write(1, f"{self._pid}\n".encode())

    def _wait(self, doorbell: int, *, watch_stdin: bool, seconds: float) -> None:
        """Sleep until something happens, then take note of signals, the end of stdin and ended children."""
        watched = [doorbell, 0] if watch_stdin else [doorbell]
        readable, _, _ = select.select(watched, [], [], seconds)
        if doorbell in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(doorbell, 4096)
        if 0 in readable and not os.read(0, 4096):
            self._stop_wanted = True
        self._reap()

    def _reap(self) -> None:
        """Collect ended children, adopted ones too, and keep the command's exit code."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self._code = code if code >= 0 else 128 - code

    def _stop(self, doorbell: int) -> None:
        """Ask politely step by step, then kill."""
        for signum, seconds in [*self._steps, (signal.SIGKILL, KILL_SECONDS)]:
            if not self._end_with(signum, seconds, doorbell):
                return

    def _end_with(self, signum: signal.Signals, seconds: float, doorbell: int) -> bool:
        """Signal every target once, and those that appear later; return whether some are left when time is up."""
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while targets := self._targets(everyone=signum == signal.SIGKILL):
            if time.monotonic() > deadline or (self._kill_wanted and signum != signal.SIGKILL):
                return True
            for target in targets - asked:
                _send(target, signum)
            asked |= targets
            self._wait(doorbell, watch_stdin=False, seconds=STOP_CHECK_SECONDS)
        return False

    def _targets(self, *, everyone: bool) -> set[int]:
        """Return what to signal, as `kill` understands it: the command alone while it lives, then its remains.

        Only the command, because it tells its own workers; a second SIGTERM would cut short a dramatiq worker's drain.
        """
        self._reap()
        if self._code is None and not everyone:
            return {self._pid}
        group = {-self._pid} if _is_alive(-self._pid) else set()
        return group | _children()


def _die_with_parent(parent: int, signum: signal.Signals) -> Callable[[], None] | None:
    """Return what makes the next program die with its parent: the last line, for when the leash itself is killed."""
    if not ON_LINUX:
        return None
    libc = ctypes.CDLL(None)

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(CANNOT_START)

    return ask_kernel


def _adopt_orphans() -> None:
    """Become the parent of every orphaned descendant (Linux), so that none escapes by starting its own session."""
    if ON_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    """Return the pids of our children, adopted ones too; empty where the kernel does not tell."""
    try:
        return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    except OSError:
        return set()


def _is_alive(target: int) -> bool:
    try:
        os.kill(target, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _send(target: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(target, signum)


def _step(text: str) -> Step:
    name, _, seconds = text.partition(":")
    return signal.Signals[f"SIG{name}"], float(seconds)


def main() -> int:
    """Run the command line described at the top of this file."""
    parser = argparse.ArgumentParser(description="Run a command that must not outlive its owner.")
    parser.add_argument("--stop", action="append", type=_step, default=[], metavar="SIGNAL:SECONDS")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        return Leash(options.command, options.stop, options.uid, options.gid).run()
    except OSError as error:
        print(f"cannot start {options.command[0]}: {error}", file=sys.stderr)  # noqa: T201
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
