"""RQ: the producer's side, and the worker: `python -m benchmarks.contenders.rq_jobs default|preloaded`.

The default worker forks for every job; the preloaded one imports the work first and runs jobs in its own process.
"""

import sys

from redis import Redis
from rq import Queue, SimpleWorker, Worker

from benchmarks.contenders.environment import EFFECTS, REDIS_SOCKET

connection = Redis(unix_socket_path=REDIS_SOCKET)
queue = Queue("bench", connection=connection)


def send_noop(number: int) -> None:
    """Send the no-op job."""
    queue.enqueue("benchmarks.contenders.marks.mark", number, result_ttl=0)


def send_document(path: str, **_: object) -> None:
    """Send the whole work as one job."""
    queue.enqueue("benchmarks.contenders.body.ingest_row_by_row", path, result_ttl=0, job_timeout=600)


def main(kind: str) -> None:
    if kind == "preloaded":
        if EFFECTS.suffix == ".documents":
            from benchmarks.contenders.body import warm_up

            warm_up()
        SimpleWorker([queue], connection=connection).work(logging_level="WARNING")
    else:
        Worker([queue], connection=connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main(sys.argv[1])
