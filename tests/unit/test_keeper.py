"""The leases of a process, and the thread that renews them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from uuid import UUID, uuid4

import pytest

from domain.errors import JobInterruptedError
from domain.jobs import Lease
from middleware.attempt import HeldLeases
from middleware.keeper import LeaseKeeper

LONG = timedelta(hours=1)


@dataclass
class FakeTable:
    """Calls `meanwhile` while it renews, and says that every lease is lost."""

    meanwhile: Callable[[], object] = lambda: None
    renewed: Event = field(default_factory=Event)
    reaped: Event = field(default_factory=Event)

    def renew(self, leases: Sequence[Lease]) -> set[UUID]:
        self.meanwhile()
        self.renewed.set()
        return {lease.job_id for lease in leases}

    def rescue_expired(self) -> dict[UUID, str]:
        self.reaped.set()
        return {}


@contextmanager
def a_keeper_that_moves(
    table: FakeTable | Exception, held: HeldLeases, *, heartbeat: timedelta = LONG
) -> Iterator[None]:
    @contextmanager
    def open_leases() -> Iterator[FakeTable]:
        if isinstance(table, Exception):
            raise table
        yield table

    keeper = LeaseKeeper(open_leases, held, heartbeat=heartbeat, lease_ttl=LONG, on_rescue=lambda state: None)
    made = keeper.last_beat
    keeper.start()
    eventually(lambda: keeper.last_beat > made)
    yield
    keeper.stop()


def holding(lease: Lease) -> HeldLeases:
    held = HeldLeases()
    held.add(lease)
    return held


def test_a_job_that_is_claimed_while_its_worker_stops_is_handed_back() -> None:
    running, claimed = Lease(uuid4(), 1), Lease(uuid4(), 1)
    held = holding(running)

    held.interrupt()
    held.add(claimed)

    for lease in (running, claimed):
        with pytest.raises(JobInterruptedError):
            lease.checkpoint()


def test_a_lease_that_is_lost_takes_no_later_one_of_its_job_along() -> None:
    job_id = uuid4()
    first, second = Lease(job_id, 1), Lease(job_id, 2)
    held = holding(first)

    with a_keeper_that_moves(FakeTable(meanwhile=lambda: held.add(second)), held):
        pass

    assert (first.lost, second.lost) == (True, False)


def test_a_new_keeper_lets_the_living_renew_before_it_reaps() -> None:
    table = FakeTable()

    with a_keeper_that_moves(table, holding(Lease(uuid4(), 1))):
        assert table.renewed.is_set()
        assert not table.reaped.is_set()


def test_it_reaps_a_heartbeat_later() -> None:
    table = FakeTable()

    with a_keeper_that_moves(table, HeldLeases(), heartbeat=timedelta(seconds=0.05)):
        assert table.reaped.wait(20)


def test_a_keeper_that_waits_for_the_database_moves() -> None:
    with a_keeper_that_moves(OSError("no database"), HeldLeases()):
        pass  # else liveness would turn red in every process, and restarts bring no database back


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
