"""Celery on Redis: prefork pool, results ignored, late acknowledgement for long tasks left at its default."""

from celery import Celery
from celery.signals import worker_process_init

from benchmarks.contenders.environment import EFFECTS, REDIS_SOCKET
from benchmarks.contenders.marks import mark

app = Celery("bench", broker=f"redis+socket://{REDIS_SOCKET}?virtual_host=0", task_ignore_result=True)
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
PRELOADS_DOCUMENTS = EFFECTS.suffix == ".documents"


@worker_process_init.connect
def preload(**_: object) -> None:
    """Load the model in every child, as a careful project does."""
    if PRELOADS_DOCUMENTS:
        from benchmarks.contenders.body import warm_up

        warm_up()


@app.task
def noop(number: int) -> None:
    """Do nothing, and say when."""
    mark(number)


@app.task
def ingest(path: str) -> None:
    """Do all the work in one task."""
    from benchmarks.contenders.body import ingest_row_by_row

    ingest_row_by_row(path)


send_noop = noop.delay


def send_document(path: str, **_: object) -> None:
    """Send the task."""
    ingest.delay(path)
