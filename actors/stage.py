"""`stage`: dramatiq.actor with our defaults, taken from the catalogue of jobs."""

from collections.abc import Callable
from typing import Any, ParamSpec

import dramatiq

from domain.errors import LeaseLostError, PermanentError
from domain.jobs import find_job

P = ParamSpec("P")


def stage(function: Callable[P, None], **options: Any) -> dramatiq.Actor[P, None]:
    """Declare an actor under the function's name, on the queue and with the time limit of the catalogue."""
    spec = find_job(function.__name__)
    declare = dramatiq.actor(
        queue_name=spec.queue,
        time_limit=round(spec.time_limit.total_seconds() * 1000),
        throws=(PermanentError, LeaseLostError),  # normal ends: logged in one line, without a traceback
        **options,
    )
    return declare(function)
