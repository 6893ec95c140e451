"""How much memory a run's processes hold, summed, and its peak."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

SAMPLE_SECONDS = 0.1
MIB = 1 << 20


def resident_bytes(pids: Iterable[int]) -> int:
    """Sum up what the processes hold in memory, shared pages counted once a process."""
    return sum(_status(pid, "VmRSS:") for pid in pids)


def private_bytes(pids: Iterable[int]) -> int:
    """Sum up what belongs to the processes alone: for servers, whose shared buffers are a setting."""
    return sum(_status(pid, "RssAnon:") for pid in pids)


def proportional_bytes(pids: Iterable[int]) -> int:
    """Sum up what the processes hold, each page that several share divided among them."""
    return sum(_status(pid, "Pss:", "smaps_rollup") for pid in pids)


def with_children(pids: Iterable[int]) -> list[int]:
    """Return these processes and what they have started, all the way down."""
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children(pid)
    return found


def children(pid: int) -> list[int]:
    """Return the processes that this one has started."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listing.read_text().split())
    return found


class Peak(Thread):
    """Samples a sum of memory until told to stop; `bytes` is the highest."""

    def __init__(self, measure: Callable[[], int]) -> None:
        super().__init__(name="memory", daemon=True)
        self._measure = measure
        self._stopping = Event()
        self._began = time.monotonic()
        self.bytes = 0
        self.curve: list[tuple[float, int]] = []

    def run(self) -> None:
        """Sample."""
        while not self._stopping.wait(SAMPLE_SECONDS):
            now = self._measure()
            self.bytes = max(self.bytes, now)
            self.curve.append((round(time.monotonic() - self._began, 1), now))

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()


def _status(pid: int, name: str, file: str = "status") -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
