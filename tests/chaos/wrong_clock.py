"""Run as `dramatiq tests.chaos.wrong_clock actors`: wall-clock time jumps between an hour ago and an hour ahead."""

import time

HOUR_SECONDS, JUMP_EVERY_SECONDS = 3600.0, 2.0

_time = time.time


def _wrong() -> float:
    is_ahead = int(time.monotonic() / JUMP_EVERY_SECONDS) % 2
    return _time() + (HOUR_SECONDS if is_ahead else -HOUR_SECONDS)


time.time = _wrong
time.time_ns = lambda: int(_wrong() * 1_000_000_000)
