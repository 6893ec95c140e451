"""Move due jobs from Postgres to the doorbell. One relay leads; any other takes over when its connection closes."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Event, Thread
from time import monotonic

import structlog

from domain.crash_points import crash_point
from domain.ledger import DispatchTable, HintLists

log = structlog.get_logger(__name__)

LEAD_SECONDS = 1.0
RECONNECT_SECONDS = 1.0

#: How often a relay that does not lead rings all the same: a leader that was stopped or cut off keeps its lock.
HELP_SECONDS = 5.0

#: How often the leader looks for queued jobs whose hint is lost.
RING_AGAIN_SECONDS = 1.0
#: A hint counts as lost after this when its queue's list is empty, as after FLUSHALL.
LOST_AFTER_EMPTY = timedelta(seconds=1)
#: … and after this otherwise: a worker may hold it behind a long job; then another worker takes the job.
LOST_AFTER = timedelta(seconds=5)
#: How soon the leader looks again while a queue's list is full, or a due job cannot be rung for.
FULL_SECONDS = 0.05


class Relay(Thread):
    """A thread in every worker process; leadership is an optimisation, correctness rests on the claim."""

    def __init__(
        self,
        open_dispatch: Callable[[], AbstractContextManager[DispatchTable]],
        hints: HintLists,
        *,
        queues: Iterable[str],
        batch_size: int,
        interval: timedelta,
    ) -> None:
        super().__init__(name="relay", daemon=True)
        self._open_dispatch = open_dispatch
        self._hints = hints
        self._queues = set(queues)
        self._batch_size = batch_size
        self._depth_limit = 4 * batch_size
        self._interval = interval.total_seconds()
        self._stop_event = Event()
        self.last_progress = monotonic()

    def run(self) -> None:
        """Lead, or wait for the lead, until stopped; over a new connection whenever the old one breaks."""
        while not self._stop_event.is_set():
            try:
                with self._open_dispatch() as dispatch:
                    self._wait_for_lead(dispatch)
                    self._relay(dispatch)
            except Exception as error:
                # Any error means the same here: nothing is lost, the next connection goes on. The watchdog sees it.
                log.warning("relay_reconnects", error=str(error))
                self._stop_event.wait(RECONNECT_SECONDS)

    def stop(self) -> None:
        """Stop; closing the connection hands the lead to another process."""
        self._stop_event.set()
        self.join(timeout=2 * RING_AGAIN_SECONDS)

    def _wait_for_lead(self, dispatch: DispatchTable) -> None:
        help_at = monotonic() + HELP_SECONDS
        while not self._stop_event.is_set() and not dispatch.lead():
            if monotonic() >= help_at:
                self._ring_due(dispatch)
                self._ring_again(dispatch)
                help_at = monotonic() + HELP_SECONDS
            self.last_progress = monotonic()
            self._stop_event.wait(LEAD_SECONDS)

    def _relay(self, dispatch: DispatchTable) -> None:
        look_at = ring_again_at = 0.0
        while not self._stop_event.is_set():
            if monotonic() >= look_at:
                look_at = monotonic() + self._ring_due(dispatch)
            if monotonic() >= ring_again_at:
                self._ring_again(dispatch)
                ring_again_at = monotonic() + RING_AGAIN_SECONDS
            self.last_progress = monotonic()
            wait = max(0.0, min(look_at, ring_again_at) - monotonic())
            if wait and dispatch.wait(timedelta(seconds=wait)):
                look_at = 0.0

    def _ring_due(self, dispatch: DispatchTable) -> float:
        """Ring once for every queue; return in how many seconds to look again.

        Jobs may wait in queues that only other workers know: their actors are newer, or from another module.
        """
        self._queues.update(dispatch.queues())
        soonest = min(self._ring_queue(dispatch, queue) for queue in sorted(self._queues))
        next_due = dispatch.next_due() if soonest > 0 else None
        return min(soonest, max(FULL_SECONDS, next_due.total_seconds())) if next_due else soonest

    def _ring_queue(self, dispatch: DispatchTable, queue: str) -> float:
        """Ring for a batch; return in how many seconds this queue deserves another look."""
        room = min(self._batch_size, self._depth_limit - self._hints.depth(queue))
        if room <= 0:
            return FULL_SECONDS
        jobs = dispatch.pick_due(queue, room)
        crash_point("after_marking_before_ringing")
        self._hints.push(queue, jobs)
        return 0.0 if len(jobs) == room else self._interval

    def _ring_again(self, dispatch: DispatchTable) -> None:
        for queue in self._queues:
            known = self._hints.peek(queue, self._depth_limit)
            room = self._depth_limit - len(known)
            age = LOST_AFTER if known else LOST_AFTER_EMPTY
            if room > 0:
                self._hints.push(queue, dispatch.ring_again(queue, age=age, limit=room, known=known))
