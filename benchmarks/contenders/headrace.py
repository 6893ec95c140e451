"""Headrace itself. As a worker: `dramatiq actors`, and this module for the no-op job. As a producer: its own API."""

from functools import cache
from pathlib import Path

import dramatiq

from actors import broker, settings
from adapters.bootstrap import ProducerRuntime, make_producer
from adapters.cli.ingest import read_parts
from benchmarks.contenders.headrace_places import workspace_id
from benchmarks.contenders.marks import mark


@dramatiq.actor(queue_name="bench", broker=broker)
def noop(number: int) -> None:
    """Do nothing, and say when."""
    mark(number)


def send_noop(number: int) -> None:
    """Send the no-op job, like any actor."""
    noop.send(number)


def send_document(path: str, workspace: int = 0) -> None:
    """Upload a file, as an API would."""
    with Path(path).open("rb") as file:
        _producer().receive_document(workspace_id(workspace), Path(path).name, read_parts(file))


@cache
def _producer() -> ProducerRuntime:
    return make_producer(settings)
