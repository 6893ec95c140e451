"""Stock Dramatiq on Redis, as its guide sets it up; documents in the same two stages that Headrace has."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.contenders.environment import REDIS_URL
from benchmarks.contenders.marks import mark

dramatiq.set_broker(RedisBroker(url=REDIS_URL))


@dramatiq.actor
def noop(number: int) -> None:
    """Do nothing, and say when."""
    mark(number)


@dramatiq.actor
def extract(path: str) -> None:
    """Parse the file, store its pages, send the second stage."""
    from benchmarks.contenders.stages import store_pages

    store_pages(path)
    index.send(path)


@dramatiq.actor
def index(path: str) -> None:
    """Chunk, embed and store the chunks."""
    from benchmarks.contenders.stages import index_pages

    index_pages(path)


send_noop = noop.send


def send_document(path: str, **_: object) -> None:
    """Send the first stage."""
    extract.send(path)
