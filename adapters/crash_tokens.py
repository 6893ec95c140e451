"""Crash points armed by files: a test that wants a crash puts a token into a folder; the crash takes it away."""

import os
import signal
from functools import partial
from pathlib import Path

from domain.crash_points import arm


def arm_from(folder: Path) -> None:
    """Kill this process with SIGKILL at each crash point whose name has a token, `<name>` or `<name>.<anything>`."""
    arm(partial(_crash_if_token, folder))


def _crash_if_token(folder: Path, name: str) -> None:
    for token in [folder / name, *folder.glob(f"{name}.*")]:
        try:
            token.unlink()
        except FileNotFoundError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
