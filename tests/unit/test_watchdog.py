"""The beacon of a worker process goes out when a thread makes no progress."""

import errno
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from middleware.watchdog import STUCK_SECONDS, Watchdog


def a_watchdog(tmp_path: Path, *, relay: float = 0.0, consumer: float | None = 0.0) -> Watchdog:
    """Build one over threads that moved for the last time so many seconds ago."""
    hints = None if consumer is None else SimpleNamespace(last_progress=monotonic() - consumer)
    thread = SimpleNamespace(consumer=hints, is_alive=lambda: True)
    worker = SimpleNamespace(workers=[], consumers={"ingest_extract": thread})
    progress = {"relay": lambda: monotonic() - relay}
    return Watchdog(worker, tmp_path / "alive-1", progress=progress, on_beat=lambda: None)  # type: ignore[arg-type]


def test_a_process_that_moves_shows_its_beacon(tmp_path: Path) -> None:
    a_watchdog(tmp_path).look()

    assert (tmp_path / "alive-1").exists()


@pytest.mark.parametrize("stuck", [{"relay": STUCK_SECONDS + 1}, {"consumer": STUCK_SECONDS + 1}])
def test_a_stuck_thread_puts_the_beacon_out(tmp_path: Path, stuck: dict[str, float]) -> None:
    a_watchdog(tmp_path, **stuck).look()

    assert not (tmp_path / "alive-1").exists()


def test_a_beacon_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "touch", full)

    a_watchdog(tmp_path).look()


def test_a_consumer_between_two_connections_is_not_stuck(tmp_path: Path) -> None:
    a_watchdog(tmp_path, consumer=None).look()

    assert (tmp_path / "alive-1").exists()


def test_a_draining_process_is_alive_until_it_is_gone(tmp_path: Path) -> None:
    watchdog = a_watchdog(tmp_path, relay=STUCK_SECONDS + 1)
    watchdog.drain()

    watchdog.look()

    assert (tmp_path / "alive-1").exists()
