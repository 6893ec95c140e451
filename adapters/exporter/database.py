"""Gauges that only the database knows: queues, documents, relay lag."""

from collections.abc import Iterable, Iterator
from itertools import product

import psycopg
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adapters.exporter.probes import PROBE_TIMEOUT_SECONDS
from adapters.postgres.sql import load_queries
from domain.documents import DocumentState
from domain.jobs import FINISHED, JOBS, JobState

_JOBS = load_queries("jobs")
_DOCUMENTS = load_queries("documents")

WAITING = (JobState.PENDING, JobState.RETRYING)
UNFINISHED = [state for state in JobState if state not in FINISHED]


class DatabaseCollector(Collector):
    """Asks Postgres once per scrape, within two seconds. `headrace_database_up` is 0 when it does not answer."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        try:
            with psycopg.connect(
                self._database_url, connect_timeout=PROBE_TIMEOUT_SECONDS, autocommit=True
            ) as connection:
                connection.execute(f"SET statement_timeout = '{PROBE_TIMEOUT_SECONDS}s'")
                queues = connection.execute(_JOBS["queue_depths"]).fetchall()
                documents = connection.execute(_DOCUMENTS["count_by_state"]).fetchall()
        except psycopg.Error:
            yield GaugeMetricFamily("headrace_database_up", "Whether Postgres answers.", value=0)
            return
        yield GaugeMetricFamily("headrace_database_up", "Whether Postgres answers.", value=1)
        yield from queue_metrics(queues)
        counts = dict.fromkeys(map(str, DocumentState), 0) | dict(documents)
        yield _by_label("headrace_documents", "Documents by state.", ["state"], counts.items())


def queue_metrics(rows: Iterable[tuple[str, str, int, float]]) -> Iterator[Metric]:
    """Turn (queue, state, jobs, age in seconds of the oldest due) rows into gauges."""
    found = {(queue, state): (jobs, seconds) for queue, state, jobs, seconds in rows}
    queues = sorted({spec.queue for spec in JOBS.values()} | {queue for queue, _ in found})
    depth = GaugeMetricFamily("headrace_queue_depth", "Unfinished jobs by queue and state.", labels=["queue", "state"])
    oldest = dict.fromkeys(queues, 0.0)
    lag = 0.0
    for queue, state in product(queues, UNFINISHED):  # an empty queue is 0, not absent
        jobs, seconds = found.get((queue, state), (0, 0.0))
        depth.add_metric([queue, state], jobs)
        if state is not JobState.RUNNING:
            oldest[queue] = max(oldest[queue], seconds)
        if state in WAITING:
            lag = max(lag, seconds)
    yield depth
    yield _by_label(
        "headrace_queue_oldest_age_seconds", "Age of the oldest due job that does not run.", ["queue"], oldest.items()
    )
    yield GaugeMetricFamily("headrace_relay_lag_seconds", "How long the oldest due job has not been rung for.", lag)


def _by_label(name: str, help_text: str, labels: list[str], rows: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for label, value in rows:
        family.add_metric([label], value)
    return family
