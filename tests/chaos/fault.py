"""A fault: what it does in the middle of a run, and what the run needs for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.embedded.stack import Stack
from tests.chaos.marks import Mark
from tests.chaos.plan import RECOVERY_P99_SECONDS, Plan
from tests.chaos.site import Site

#: Stands between workers and servers; yields the addresses to use instead.
Proxied = Callable[[Stack, Path], AbstractContextManager[dict[str, str]]]


def start_as_usual(site: Site) -> None:
    site.start_workers()
    site.start_scheduler()


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    `disturbed` are the states of jobs that the fault can hurt, `mark` what every `mark_every`-th file makes a sabotaged
    parser do. `has_families`: jobs of every family run beside the documents, of which
    there are fewer. `recovery_seconds`: within which 99 % of
    the jobs that were in flight must have ended.
    """

    name: str
    inject: Callable[[Site], None]
    start: Callable[[Site], None] = start_as_usual
    proxied: Proxied | None = None
    environment: dict[str, str] = field(default_factory=dict)
    disturbed: tuple[str, ...] = ("running",)
    mark: Mark | None = None
    mark_every: int = 20
    refuses_uploads: bool = False
    has_families: bool = False
    recovery_seconds: float = RECOVERY_P99_SECONDS
    skip: Callable[[], str] = lambda: ""

    def documents(self, plan: Plan) -> int:
        """Return how many documents the run has."""
        return plan.documents // 3 if self.has_families else plan.documents


FAULTS: dict[str, Fault] = {}


def fault(name: str, **options: object) -> Callable[[Callable[[Site], None]], Callable[[Site], None]]:
    """Register the function below as a fault."""

    def register(inject: Callable[[Site], None]) -> Callable[[Site], None]:
        FAULTS[name] = Fault(name, inject, **options)  # type: ignore[arg-type]
        return inject

    return register
