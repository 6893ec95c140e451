"""What Prometheus is told by workers. Queue and document gauges come from the database, in adapters/exporter."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from domain.erasure import ErasureReport
from domain.exports import ExportReport
from domain.extraction import ExtractionReport
from domain.indexing import IndexingReport
from domain.ledger import Outcome
from domain.mailings import Result as MailResult
from domain.media_processing import MediaReport
from domain.notifications import NotificationReport
from domain.webhook_delivery import DeliveryReport
from middleware.attempt import find_attempt

DURATION_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
WAIT_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


@dataclass(frozen=True, slots=True)
class Instruments:
    """Every counter, gauge and histogram that a worker process feeds."""

    jobs_finished: Any
    job_duration: Any
    job_wait: Any
    jobs_in_progress: Any
    leases_reaped: Any
    pages: Any
    chunks: Any
    chunks_reused: Any
    embedding_tokens: Any
    pictures: Any
    picture_bytes: Any
    webhooks: Any
    webhook_duration: Any
    mails: Any
    export_rows: Any
    export_bytes: Any
    erased_rows: Any
    notifications: Any
    pool_size: Any
    pool_available: Any
    pool_waiting: Any


_instruments: Instruments | None = None


def open_instruments(folder: Path) -> Instruments:
    """Create the instruments of this process, in files below `folder` that the exporter adds up.

    prometheus_client chooses the kind of its values when it is first imported; choosing here works in either order.
    """
    global _instruments  # noqa: PLW0603 - one per process, like prometheus_client's own registry
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from prometheus_client import values  # noqa: PLC0415 - reads the variable above

    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    _instruments = _instruments or _create()
    return _instruments


def instruments() -> Instruments | None:
    """Return the instruments; None outside of a worker process."""
    return _instruments


def observe_pool(stats: Mapping[str, int]) -> None:
    """Publish psycopg_pool's statistics; a missing key means zero there."""
    if _instruments:
        _instruments.pool_size.set(stats.get("pool_size", 0))
        _instruments.pool_available.set(stats.get("pool_available", 0))
        _instruments.pool_waiting.set(stats.get("requests_waiting", 0))


def count_extraction(report: ExtractionReport, *, model: str) -> None:
    """Count what one extraction read, and what it indexed at once."""
    if _instruments:
        _instruments.pages.inc(report.pages - report.resumed_after)
    if report.indexing:
        count_indexing(report.indexing, model=model)


def count_indexing(report: IndexingReport, *, model: str) -> None:
    """Count what one indexing published and spent."""
    if _instruments:
        _instruments.chunks.inc(report.chunks)
        _instruments.chunks_reused.inc(report.reused)
        _instruments.embedding_tokens.labels(model).inc(report.tokens)


def count_picture(report: MediaReport) -> None:
    """Count a finished picture, the bytes that it was made of and its own."""
    if _instruments and not report.skipped:
        _instruments.pictures.labels(report.kind, report.format).inc()
        _instruments.picture_bytes.labels("read").inc(report.source_bytes)
        _instruments.picture_bytes.labels("written").inc(report.result_bytes)


def count_delivery(report: DeliveryReport) -> None:
    """Count what became of one webhook, and how long its receiver took."""
    if _instruments:
        _instruments.webhooks.labels(report.result).inc()
        if report.seconds:
            _instruments.webhook_duration.observe(report.seconds)


def count_mail(result: MailResult) -> None:
    """Count what became of one mail."""
    if _instruments:
        _instruments.mails.labels(result).inc()


def count_export(report: ExportReport) -> None:
    """Count what one export wrote."""
    if _instruments:
        _instruments.export_rows.labels(report.format).inc(report.row_count)
        _instruments.export_bytes.labels(report.format).inc(report.byte_count)


def count_erasure(report: ErasureReport) -> None:
    """Count what one erasure removed."""
    if _instruments:
        _instruments.erased_rows.inc(sum(report.counts.values()))


def count_notification(report: NotificationReport) -> None:
    """Count a notification, unless the user had it already, by what became of its mail."""
    if _instruments and report.is_new:
        _instruments.notifications.labels(report.email, report.webhook).inc()


class Metrics(Middleware):
    """Counts jobs by actor, queue and outcome, and how long they took and waited.

    Stands behind JobLedger, so that it sees the attempt's outcome before the lease is let go.
    """

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Count a claimed job in."""
        attempt = find_attempt(message.message_id)
        if _instruments and attempt:
            _instruments.jobs_in_progress.labels(message.actor_name, message.queue_name).inc()
            _instruments.job_wait.labels(message.queue_name).observe(max(0.0, attempt.claim.waited_seconds))

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Count it out."""
        self._finish(message)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Count it out."""
        self._finish(message)

    def _finish(self, message: MessageProxy) -> None:
        attempt = find_attempt(message.message_id)
        if not _instruments or attempt is None:
            return
        labels = (message.actor_name, message.queue_name)
        _instruments.jobs_in_progress.labels(*labels).dec()
        _instruments.job_duration.labels(*labels).observe(attempt.seconds)
        _instruments.jobs_finished.labels(*labels, attempt.outcome or Outcome.LOST).inc()


def _create() -> Instruments:
    from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415

    job = ("actor", "queue")
    return Instruments(
        jobs_finished=Counter(
            "headrace_jobs_finished", "Attempts that ended, by outcome.", (*job, "outcome"), registry=None
        ),
        job_duration=Histogram(
            "headrace_job_duration_seconds", "How long attempts took.", job, registry=None, buckets=DURATION_BUCKETS
        ),
        job_wait=Histogram(
            "headrace_job_wait_seconds",
            "How long jobs waited after they were due.",
            ("queue",),
            registry=None,
            buckets=WAIT_BUCKETS,
        ),
        jobs_in_progress=Gauge(
            "headrace_jobs_in_progress", "Attempts running now.", job, registry=None, multiprocess_mode="livesum"
        ),
        leases_reaped=Counter(
            "headrace_leases_reaped",
            "Jobs taken from silent workers, by what became of them.",
            ("state",),
            registry=None,
        ),
        pages=Counter("headrace_pages", "Pages extracted.", registry=None),
        chunks=Counter("headrace_chunks", "Chunks published.", registry=None),
        chunks_reused=Counter("headrace_chunks_reused", "Chunks whose vector existed already.", registry=None),
        embedding_tokens=Counter("headrace_embedding_tokens", "Tokens spent.", ("model",), registry=None),
        pictures=Counter("headrace_pictures", "Pictures made.", ("kind", "format"), registry=None),
        picture_bytes=Counter(
            "headrace_picture_bytes", "Bytes read and written to make pictures.", ("direction",), registry=None
        ),
        webhooks=Counter("headrace_webhooks", "Webhooks attempted, by result.", ("result",), registry=None),
        webhook_duration=Histogram(
            "headrace_webhook_duration_seconds",
            "How long receivers of webhooks took.",
            registry=None,
            buckets=DURATION_BUCKETS,
        ),
        mails=Counter("headrace_mails", "Mails handed over or not, by result.", ("result",), registry=None),
        export_rows=Counter("headrace_export_rows", "Rows exported.", ("format",), registry=None),
        export_bytes=Counter("headrace_export_bytes", "Bytes of exported files.", ("format",), registry=None),
        erased_rows=Counter("headrace_erased_rows", "Rows and blobs erased.", registry=None),
        notifications=Counter(
            "headrace_notifications", "Notifications, by their other ways.", ("email", "webhook"), registry=None
        ),
        pool_size=_pool_gauge("size", "Connections in the database pools."),
        pool_available=_pool_gauge("available", "Idle connections in the database pools."),
        pool_waiting=_pool_gauge("waiting", "Threads waiting for a database connection."),
    )


def _pool_gauge(name: str, help_text: str) -> Any:
    from prometheus_client import Gauge  # noqa: PLC0415

    return Gauge(f"headrace_database_pool_{name}", help_text, registry=None, multiprocess_mode="livesum")
