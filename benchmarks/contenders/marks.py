"""What a no-op job does: leave its number and the time. One short append is one write, whoever else appends."""

import os
import struct
import time
from functools import cache
from pathlib import Path

from benchmarks.contenders.environment import EFFECTS

MARK = struct.Struct("<qq")


def mark(number: int) -> None:
    """Note that job `number` has run, and when: CLOCK_MONOTONIC is the same in every process of a machine."""
    os.write(_file(), MARK.pack(number, time.monotonic_ns()))


def read_marks(path: Path) -> dict[int, int]:
    """Return when each job ran; a job that ran twice counts once."""
    content = path.read_bytes()
    return dict(MARK.iter_unpack(content[: len(content) // MARK.size * MARK.size]))


@cache
def _file() -> int:
    return os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
