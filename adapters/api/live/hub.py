"""From the one reader to all watchers of this process, in memory, within one event loop."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from adapters.api.live.endings import SLOW, TOO_MANY, Ending, WatchEnded
from adapters.api.live.frames import Frame, frame_of
from domain.live import Channel, LiveEvent

#: Events that wait for one watcher. They are shared, so that a queue costs a reference each.
QUEUE_EVENTS = 1000


class Watcher:
    """One connection's place: what it watches, and the bounded queue of what it has not been sent yet."""

    def __init__(self, workspace_id: UUID, key_id: UUID, channel: Channel, client_id: str | None = None) -> None:
        self.workspace_id = workspace_id
        self.key_id = key_id
        self.channel = channel
        self.client_id = client_id
        #: The last event it has; nothing up to it is offered again.
        self.after = 0
        self.ending: Ending | None = None
        self.on_end: Callable[[], object] = lambda: None
        self._queue: deque[Frame] = deque()
        self._news = asyncio.Event()

    def offer(self, frame: Frame) -> None:
        """Put an event into the queue, or end the watch when it is full."""
        if frame.id <= self.after or self.ending:
            return
        if len(self._queue) >= QUEUE_EVENTS:
            self.end(SLOW)
            return
        self._queue.append(frame)
        self._news.set()

    def end(self, ending: Ending) -> None:
        """End the watch; what waits in the queue is dropped, since the log still has it."""
        if self.ending is None:
            self.ending = ending
            self._queue.clear()
            self._news.set()
            self.on_end()

    async def take(self, *, seconds: float) -> Sequence[Frame]:
        """Return everything that waits, in order; nothing when that long nothing came. Raises WatchEnded."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return ()
        if self.ending is not None:
            raise WatchEnded(self.ending)
        self._news.clear()
        frames = list(self._queue)
        self._queue.clear()
        return frames


class Hub:
    """Every watcher of this process by what it watches. `position`: the event up to which everything was published.

    Nothing here waits: between two awaits of its callers the hub does not change.
    """

    def __init__(self, *, most_watchers: int, most_per_workspace: int) -> None:
        self.position = 0
        self.is_ready = asyncio.Event()  # set once the position is known
        #: Grows whenever a workspace gets its first listener: what was read before then may lack its events.
        self.version = 0
        self._most_watchers = most_watchers
        self._most_per_workspace = most_per_workspace
        self._watchers: set[Watcher] = set()
        self._per_workspace: Counter[UUID] = Counter()
        self._listeners: dict[tuple[UUID, Channel], set[Watcher]] = {}
        self._listening: Counter[UUID] = Counter()

    def __len__(self) -> int:
        """Count the watchers, those that still catch up too."""
        return len(self._watchers)

    @property
    def watchers(self) -> Iterable[Watcher]:
        """Return every watcher as of now."""
        return tuple(self._watchers)

    @property
    def workspaces(self) -> Sequence[UUID]:
        """Return the workspaces whose events somebody listens to."""
        return tuple(self._listening)

    def check_room(self, watcher: Watcher) -> None:
        """Raise WatchEnded when there are too many watchers, here or of the workspace."""
        is_full = len(self._watchers) >= self._most_watchers
        if is_full or self._per_workspace.get(watcher.workspace_id, 0) >= self._most_per_workspace:
            raise WatchEnded(TOO_MANY)

    def enter(self, watcher: Watcher) -> None:
        """Count a watcher in. Raises WatchEnded when there are too many."""
        self.check_room(watcher)
        self._watchers.add(watcher)
        self._per_workspace[watcher.workspace_id] += 1

    def listen(self, watcher: Watcher) -> None:
        """Let a watcher that has everything up to the position have what comes after it."""
        self._listeners.setdefault((watcher.workspace_id, watcher.channel), set()).add(watcher)
        self._listening[watcher.workspace_id] += 1
        if self._listening[watcher.workspace_id] == 1:
            self.version += 1

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher, if it ever was here."""
        if watcher not in self._watchers:
            return
        self._watchers.remove(watcher)
        _count_down(self._per_workspace, watcher.workspace_id)
        key = (watcher.workspace_id, watcher.channel)
        listeners = self._listeners.get(key, set())
        if watcher in listeners:
            listeners.remove(watcher)
            _count_down(self._listening, watcher.workspace_id)
        if not listeners:
            self._listeners.pop(key, None)

    def publish(self, events: Iterable[LiveEvent], position: int) -> None:
        """Offer events to whom they concern. The workspace is part of the address: no other one's watcher has it."""
        for event in events:
            addresses = ((event.workspace_id, channel) for channel in event.channels)
            if listeners := [found for address in addresses if (found := self._listeners.get(address))]:
                frame = frame_of(event)
                for watcher in [watcher for found in listeners for watcher in found]:
                    watcher.offer(frame)
        self.position = max(self.position, position)

    def end_all(self, ending: Ending) -> None:
        """End every watch."""
        for watcher in self.watchers:
            watcher.end(ending)


def _count_down(counter: Counter[UUID], key: UUID) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
