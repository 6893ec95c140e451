"""Renew the leases of this process, and take jobs from workers that went silent."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Event, Thread
from time import monotonic

import structlog

from domain.ledger import LeaseTable
from middleware.attempt import HeldLeases

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0


class LeaseKeeper(Thread):
    """One thread and one connection per process; every process also reaps, so no leader is needed for recovery."""

    def __init__(
        self,
        open_leases: Callable[[], AbstractContextManager[LeaseTable]],
        held: HeldLeases,
        *,
        heartbeat: timedelta,
        lease_ttl: timedelta,
        on_rescue: Callable[[str], None],
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._open_leases = open_leases
        self._held = held
        self._heartbeat = heartbeat.total_seconds()
        self._grace = lease_ttl.total_seconds()
        self._on_rescue = on_rescue
        self._stop_event = Event()
        self._may_reap_at = 0.0
        self.last_beat = monotonic()

    def run(self) -> None:
        """Beat until stopped, over a new connection whenever the old one breaks."""
        # If the database has just come back, whoever lives renews within a heartbeat; a new process may be faster.
        self._may_reap_at = monotonic() + self._heartbeat
        while not self._stop_event.is_set():
            try:
                with self._open_leases() as leases:
                    self._beat_until_stopped(leases)
            except Exception as error:
                # Any error means the same here: the next connection decides.
                log.warning("lease_keeper_reconnects", error=str(error))
                # While the database was away nobody could renew; give every live worker time to do so first.
                self._may_reap_at = monotonic() + self._grace
                self.last_beat = monotonic()  # it moves: a new process would bring no database back
                self._stop_event.wait(RECONNECT_SECONDS)

    def stop(self) -> None:
        """Stop beating; leases that are still held expire."""
        self._stop_event.set()
        self.join(timeout=self._heartbeat)

    def _beat_until_stopped(self, leases: LeaseTable) -> None:
        while not self._stop_event.is_set():
            self._beat(leases)
            self._stop_event.wait(self._heartbeat)

    def _beat(self, leases: LeaseTable) -> None:
        held = self._held.unsettled()
        if held:
            lost = leases.renew(held)
            for lease in held:  # these, and not what this process may have claimed of the same jobs meanwhile
                if lease.job_id in lost:
                    lease.lost = True
        if monotonic() >= self._may_reap_at:
            for job_id, state in leases.rescue_expired().items():
                self._on_rescue(state)
                log.warning("job_rescued", job_id=str(job_id), state=state)
        self.last_beat = monotonic()
