"""Ring for watchers when a job has begun or ended."""

from threading import Event, Thread

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from domain.jobs import SYSTEM_WORKSPACE
from domain.live import LiveBell
from middleware.attempt import find_attempt

log = structlog.get_logger(__name__)

#: Whatever happens within this time is one ring: at most twenty a second from each process, however many jobs it runs.
PAUSE_SECONDS = 0.05


class LiveRings(Middleware):
    """Rings from a thread of its own: no job ever waits for Redis, and while that is away watchers look by themselves.

    Jobs of the system workspace, which nobody can watch, cost a comparison.
    """

    def __init__(self, bell: LiveBell) -> None:
        self._bell = bell
        self._news = Event()
        self._stopping = Event()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Start the thread; after the fork, which carries none over."""
        self._thread = Thread(target=self._ring_until_stopped, name="live-rings", daemon=True)
        self._thread.start()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Note that an attempt has begun."""
        self._note(message)

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Note that it has ended well."""
        self._note(message)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Note that it has ended badly."""
        self._note(message)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Ring for the last time and stop."""
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout=1.0)

    def _note(self, message: MessageProxy) -> None:
        attempt = find_attempt(message.message_id)
        if attempt and attempt.claim.workspace_id != SYSTEM_WORKSPACE:
            self._news.set()

    def _ring_until_stopped(self) -> None:
        is_deaf = False
        while not self._stopping.is_set():
            self._news.wait()
            self._stopping.wait(PAUSE_SECONDS)  # what follows at once is covered by the same ring
            self._news.clear()
            try:
                self._bell.ring()
                is_deaf = False
            except Exception as error:  # whatever it is, watchers look by themselves
                if not is_deaf:
                    log.info("live_rings_unheard", error=str(error))
                is_deaf = True
