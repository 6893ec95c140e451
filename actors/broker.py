"""The broker and its middleware: the one ordered list, with a reason per line."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from dramatiq.middleware import AgeLimit, CurrentMessage, TimeLimit
from periodiq import PeriodiqMiddleware

from adapters.bootstrap import (
    WorkerRuntime,
    make_hints,
    make_ledger,
    make_live_bell,
    make_pool,
    open_dispatch,
    open_leases,
    open_worker_runtime,
)
from adapters.crash_tokens import arm_from
from adapters.exporter.folder import open_folder
from adapters.exporter.keeping import keep_exporter
from adapters.logs import configure_logging
from adapters.redis.broker import LedgerBroker
from adapters.settings import Settings
from middleware.attempt import HeldLeases
from middleware.failed_state import FailedState
from middleware.following import LedgerCallbacks, LedgerPipelines
from middleware.ledger import JobLedger
from middleware.live import LiveRings
from middleware.log_context import LogContext
from middleware.metrics import Metrics
from middleware.retries import LedgerRetries
from middleware.runtime import RuntimeLifecycle, WorkerThreads

#: Retries back off from two seconds to five minutes; a document should not wait longer for a hiccup.
MIN_BACKOFF = timedelta(seconds=2)
MAX_BACKOFF = timedelta(minutes=5)

#: A tick is never too old: its actor sweeps, and the ledger keeps at most one waiting per actor.
NEVER_SKIP_SECONDS = 365 * 24 * 3600


def make_broker(settings: Settings) -> tuple[LedgerBroker, RuntimeLifecycle[WorkerRuntime]]:
    """Build the broker; nothing connects before it is used. Returns it with the holder of the worker's runtime."""
    if settings.crash_tokens:
        arm_from(Path(settings.crash_tokens))
    pool, hints, held = make_pool(settings), make_hints(settings), HeldLeases()
    ledger = make_ledger(pool)
    lifecycle = RuntimeLifecycle(partial(open_worker_runtime, settings, pool))
    job_ledger = JobLedger(ledger, held, lease_ttl=settings.lease_ttl)
    threads = WorkerThreads(
        open_leases=partial(open_leases, settings),
        open_dispatch=partial(open_dispatch, settings),
        hints=hints,
        held=held,
        heartbeat=timedelta(seconds=settings.heartbeat_seconds),
        lease_ttl=settings.lease_ttl,
        batch_size=settings.batch_size_jobs,
        interval=timedelta(milliseconds=settings.worker_processing_interval),
        pool_stats=pool.stats,
        open_folder=open_folder,
        keep_exporter=partial(keep_exporter, is_wanted=settings.metrics_port > 0),
    )
    configure = partial(configure_logging, log_format=settings.log_format, log_level=settings.log_level)
    middleware = [  # before_* hooks run downwards, after_* hooks upwards
        lifecycle,  # first up, last down: everything below needs the runtime
        threads,  # leases are renewed before the first claim and until the last settle
        job_ledger,  # claims before anything else judges the message
        LogContext(configure),  # ids of the claimed job
        FailedState(ledger),  # sees every bad end, in before_nack
        LiveRings(make_live_bell(settings)),  # rings for watchers once the attempt has begun or ended
        Metrics(),  # reads the outcome before job_ledger lets the attempt go
        LedgerRetries(
            max_retries=settings.max_retries,
            min_backoff=_milliseconds(MIN_BACKOFF),
            max_backoff=_milliseconds(MAX_BACKOFF),
        ),  # above TimeLimit: no limit fires while a retry is written
        LedgerCallbacks(),  # what follows a job is in the ledger before the job has ended, or LedgerRetries hears of it
        LedgerPipelines(),
        AgeLimit(),  # dramatiq's own; judges the ledger's message, not the hint
        TimeLimit(),  # below job_ledger: no limit fires while a job is claimed or settled
        CurrentMessage(),
        PeriodiqMiddleware(skip_delay=NEVER_SKIP_SECONDS),  # declares the `periodic` option
    ]
    broker = LedgerBroker(ledger=ledger, hints=hints, middleware=middleware, retry_running=job_ledger.retry_running)
    return broker, lifecycle


def _milliseconds(delay: timedelta) -> int:
    return round(delay.total_seconds() * 1000)
