"""Move due jobs from Postgres to the doorbell. One relay leads; any other takes over when its connection closes.

A job that was rung for has its place and is overtaken by nobody, so the relay rings for few jobs ahead: for as many as
workers take until it looks again. Whose job comes next is decided as late as that.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from math import inf
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

#: How soon the leader looks at a queue again that has more to ring for: at first, and at most when nobody takes a hint.
LOOK_SECONDS, LONG_LOOK_SECONDS = 0.01, 0.05
#: A look that finds so many is followed by another, whoever rings.
MANY_JOBS = 4
#: How often it looks around for other queues while it does not listen.
DEAF_LOOK_SECONDS = 0.2
#: Fewest hints to keep ahead of the workers.
LEAST_AHEAD = 4


@dataclass(slots=True)
class Pace:
    """How many hints a queue keeps ahead, and when to look at it again: found out from how fast workers take them."""

    most: int
    ahead: int = LEAST_AHEAD
    left: int = 0
    pause: float = LOOK_SECONDS

    def room(self, depth: int) -> int:
        """Return how many hints to add to the `depth` that are there now."""
        taken = self.left - depth
        if taken > 0 and depth == 0:
            self.ahead = 2 * self.ahead
        elif 4 * taken < self.ahead:
            self.ahead = self.ahead // 2
        self.ahead = min(max(self.ahead, LEAST_AHEAD), self.most)
        self.pause = LOOK_SECONDS if taken > 0 else min(2 * self.pause, LONG_LOOK_SECONDS)
        self.left = depth
        return self.ahead - depth if 2 * depth <= self.ahead else 0


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
        self._paces: dict[str, Pace] = defaultdict(lambda: Pace(most=self._depth_limit))
        self._look_at: dict[str, float] = {}
        self._looked_at: dict[str, float] = {}
        self._look_around_at = 0.0
        self._is_busy = False
        self._is_deaf = True
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
                # Any error means the same here: nothing is lost, the next connection goes on.
                log.warning("relay_reconnects", error=str(error))
                self.last_progress = monotonic()  # it moves: a new process would bring neither server back
                self._stop_event.wait(RECONNECT_SECONDS)

    def stop(self) -> None:
        """Stop; closing the connection hands the lead to another process."""
        self._stop_event.set()
        self.join(timeout=2 * RING_AGAIN_SECONDS)

    def _wait_for_lead(self, dispatch: DispatchTable) -> None:
        help_at = monotonic() + HELP_SECONDS
        while not self._stop_event.is_set() and not dispatch.lead():
            if monotonic() >= help_at:
                for queue in dispatch.queues():
                    self._ring(dispatch, queue)
                self._ring_again(dispatch)
                help_at = monotonic() + HELP_SECONDS
            self.last_progress = monotonic()
            self._stop_event.wait(LEAD_SECONDS)

    def _relay(self, dispatch: DispatchTable) -> None:
        self._is_deaf, self._look_around_at = True, 0.0
        ring_again_at = asked_at = 0.0
        ask_at = inf
        while not self._stop_event.is_set():
            if monotonic() >= self._look_around_at:
                self._look_at = dict.fromkeys(self._find_queues(dispatch), 0.0) | self._look_at
                self._look_around_at = monotonic() + (DEAF_LOOK_SECONDS if self._is_deaf else self._interval)
            if self._ring_due(dispatch):
                ask_at = asked_at + LONG_LOOK_SECONDS
            if monotonic() >= ask_at:
                self._look_around_at = min(self._look_around_at, monotonic() + self._until_next_due(dispatch))
                asked_at, ask_at = monotonic(), inf
            if monotonic() >= ring_again_at:
                self._ring_again(dispatch)
                ring_again_at = monotonic() + RING_AGAIN_SECONDS
            self.last_progress = monotonic()
            next_at = min(self._look_around_at, ring_again_at, ask_at, *self._look_at.values())
            self._wait(dispatch, max(0.0, next_at - monotonic()))

    def _wait(self, dispatch: DispatchTable, seconds: float) -> None:
        """Wait for a ring. Under load the next look comes so soon that nothing is gained by listening until then."""
        if self._look_at and seconds <= LOOK_SECONDS:
            if self._is_busy and not self._is_deaf:
                dispatch.unlisten()
                self._is_deaf, self._look_around_at = True, monotonic() + DEAF_LOOK_SECONDS
            self._stop_event.wait(seconds)
        elif self._is_deaf:
            dispatch.listen()
            self._is_deaf, self._look_around_at = False, 0.0
        else:
            for queue in dispatch.wait(timedelta(seconds=seconds)):
                self._look_at[queue] = self._looked_at.get(queue, 0.0) + LOOK_SECONDS

    def _find_queues(self, dispatch: DispatchTable) -> list[str]:
        """Jobs may wait in queues that only other workers know: their actors are newer, or from another module."""
        queues = dispatch.queues()
        self._queues.update(queues)
        return queues

    def _ring_due(self, dispatch: DispatchTable) -> bool:
        """Ring for every queue whose time has come; True when one of them has nothing more that is due."""
        due = [queue for queue, at in self._look_at.items() if at <= monotonic()]
        for queue in due:
            self._looked_at[queue] = monotonic()
            if self._ring(dispatch, queue):
                self._look_at[queue] = monotonic() + self._paces[queue].pause
            else:
                del self._look_at[queue]
        if due:
            self._is_busy = all(queue in self._look_at for queue in due)
        return bool(due) and not self._is_busy

    def _until_next_due(self, dispatch: DispatchTable) -> float:
        wait = dispatch.next_due()
        return self._interval if wait is None else max(LONG_LOOK_SECONDS, wait.total_seconds())

    def _ring(self, dispatch: DispatchTable, queue: str) -> bool:
        """Ring for as many jobs as the queue needs ahead; False when no more are due, nor likely to be very soon."""
        self._queues.add(queue)
        pace = self._paces[queue]
        room = min(self._batch_size, pace.room(self._hints.depth(queue)))
        if room <= 0:
            return True
        jobs = dispatch.pick_due(queue, room)
        crash_point("after_marking_before_ringing")
        self._hints.push(queue, jobs)
        pace.left += len(jobs)
        return len(jobs) >= min(room, MANY_JOBS)

    def _ring_again(self, dispatch: DispatchTable) -> None:
        for queue in self._queues:
            known = self._hints.peek(queue, self._depth_limit)
            room = self._depth_limit - len(known)
            age = LOST_AFTER if known else LOST_AFTER_EMPTY
            if room > 0:
                self._hints.push(queue, dispatch.ring_again(queue, age=age, limit=room, known=known))
