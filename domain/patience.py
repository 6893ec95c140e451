"""Hold on to what has been done or paid for while the database is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from domain.errors import FailureCode, TransientError
from domain.jobs import Lease

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5


def patiently(step: Callable[[], T], lease: Lease) -> T:
    """Try a step that may be repeated until the database answers, the lease is lost, or a minute is over.

    Raises what the step raised last.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return step()
        except TransientError as error:
            is_away = error.code is FailureCode.DATABASE_UNAVAILABLE
            if not is_away or lease.lost or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)
