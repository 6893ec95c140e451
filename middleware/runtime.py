"""Open what a worker process needs before it takes its first job, and close it after its last."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from domain.errors import HeadraceError, SchemaError, SettingsError
from domain.ledger import DispatchTable, HintLists, LeaseTable
from middleware.attempt import HeldLeases
from middleware.keeper import LeaseKeeper
from middleware.metrics import instruments, observe_pool, open_instruments
from middleware.relay import Relay
from middleware.watchdog import Watchdog

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: sysexits(3): a restart does not help until somebody changes something / a restart may help.
EXIT_CONFIGURATION = 78
EXIT_UNAVAILABLE = 69


@contextmanager
def stopping_the_boot() -> Iterator[None]:
    """Turn any error into SystemExit: 78 when somebody must act, 69 when waiting may help.

    Dramatiq would log it and go on, with a worker that takes jobs and cannot run them or keep their leases.
    """
    try:
        yield
    except (SettingsError, SchemaError) as error:
        log.critical("worker_cannot_start", reason=str(error))
        sys.exit(EXIT_CONFIGURATION)
    except Exception as error:
        is_expected = isinstance(error, (HeadraceError, OSError))
        log.critical("worker_cannot_start", reason=str(error), exc_info=not is_expected)
        sys.exit(EXIT_UNAVAILABLE)


class RuntimeLifecycle(Middleware, Generic[T]):
    """Holds the one runtime of a worker process, the pattern of Dramatiq's CurrentMessage; only actors ask for it.

    The runtime opens after the fork and before consumers start; a failure stops the boot.
    """

    def __init__(self, open_runtime: Callable[[Collection[str]], AbstractContextManager[T]]) -> None:
        """`open_runtime` gets the names of the queues that this process serves."""
        self._open_runtime = open_runtime
        self._stack = ExitStack()
        self._runtime: T | None = None

    @property
    def current(self) -> T:
        """Return the runtime. Raises RuntimeError outside of a worker process."""
        if self._runtime is None:
            raise RuntimeError("no worker is running in this process; send the actor a message instead of calling it")
        return self._runtime

    @stopping_the_boot()
    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Open the runtime."""
        worker.queue_prefetch = worker.worker_threads  # a job that waits here is a job another worker could start
        queues = worker.consumer_whitelist or broker.get_declared_queues()
        self._runtime = self._stack.enter_context(self._open_runtime(queues))

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Close the runtime."""
        self._runtime = None
        self._stack.close()


class WorkerThreads(Middleware):
    """Runs the threads of a worker process: lease keeper, relay, watchdog; and keeps the exporter up."""

    def __init__(
        self,
        *,
        open_leases: Callable[[], AbstractContextManager[LeaseTable]],
        open_dispatch: Callable[[], AbstractContextManager[DispatchTable]],
        hints: HintLists,
        held: HeldLeases,
        heartbeat: timedelta,
        lease_ttl: timedelta,
        batch_size: int,
        interval: timedelta,
        pool_stats: Callable[[], Mapping[str, int]],
        open_folder: Callable[[int], Path],
        keep_exporter: Callable[[Path], AbstractContextManager[None]],
    ) -> None:
        self._keeper = LeaseKeeper(open_leases, held, heartbeat=heartbeat, lease_ttl=lease_ttl, on_rescue=_count_rescue)
        self._open_relay: Callable[[Broker], Relay] = lambda broker: Relay(
            open_dispatch, hints, queues=broker.get_declared_queues(), batch_size=batch_size, interval=interval
        )
        self._held = held
        self._pool_stats = pool_stats
        self._open_folder = open_folder
        self._keep_exporter = keep_exporter
        self._stack = ExitStack()

    @stopping_the_boot()
    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Start renewing leases before the first claim."""
        self._folder = self._open_folder(os.getppid())
        open_instruments(self._folder)
        self._keeper.start()

    @stopping_the_boot()
    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start ringing for jobs once somebody can hear it."""
        self._relay = self._open_relay(broker)
        self._relay.start()
        progress = {"lease-keeper": lambda: self._keeper.last_beat, "relay": lambda: self._relay.last_progress}
        self._watchdog = Watchdog(
            worker,
            self._folder / f"alive-{os.getpid()}",
            progress=progress,
            on_beat=lambda: observe_pool(self._pool_stats()),
        )
        self._watchdog.start()
        self._stack.enter_context(self._keep_exporter(self._folder))

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Hand the relay's lead on, and running jobs back at their next safe point; leases are renewed until then."""
        self._watchdog.drain()
        for consumer in worker.consumers.values():
            consumer.stop()  # dramatiq would do so when the last job has ended; until then, hints would end here
        self._relay.stop()
        self._held.interrupt()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Stop renewing leases."""
        self._keeper.stop()
        self._stack.close()


def _count_rescue(state: str) -> None:
    counters = instruments()
    if counters:
        counters.leases_reaped.labels(state).inc()
