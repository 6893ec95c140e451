"""Dead letters: jobs that failed, kept with arguments and attempts until somebody retries or discards them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from domain.documents import DocumentState
from domain.errors import InvalidJobError
from domain.intake import restart_document, unheard
from domain.jobs import TRANSITIONS, JobState, StoredJob
from domain.ports import Transactions, Unit

#: States that `retry_job` leaves.
RETRIABLE = TRANSITIONS["replay"][0]

#: A hundred years: beyond that, what is counted from now may be no point in time.
LONGEST_AGE = timedelta(weeks=5200)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(rf"(\d{{1,6}})([{''.join(_UNITS)}])")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: all of what is given must fit. Ages count from a job's end, or from its start in life.

    `replayed`: also dead letters whose place a later job has taken.
    """

    ids: tuple[UUID, ...] = ()
    queue: str | None = None
    actor: str | None = None
    states: tuple[JobState, ...] = ()
    workspace_id: UUID | None = None
    code: str | None = None
    fingerprint: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request. `reason`: why nothing did; `new_job_id`: the job that runs now, maybe the same."""

    job_id: UUID
    reason: str | None = None
    new_job_id: UUID | None = None


def parse_age(text: str) -> timedelta:
    """Read `90s`, `10m`, `2h`, `3d` or `1w`. Raises InvalidJobError."""
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise InvalidJobError(f"{text!r:.40} is no age: write 90s, 10m, 2h, 3d or 1w")
    age = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if age > LONGEST_AGE:
        raise InvalidJobError(f"{text!r:.40} is longer than a hundred years")
    return age


def retry_job(job_id: UUID, *, transactions: Transactions, confirm: Callable[[Verdict], None] = unheard) -> Verdict:
    """Run a job again that failed or was cancelled, with all its retries before it.

    The job of a document starts the document over, as `reindex_document` does: a new job, nothing paid for twice,
    and the dead letter stays as history that names the new job. Any other job waits again under its own id.
    `confirm` hears of a retry inside its transaction.
    """
    with transactions() as unit:
        job = unit.dead_letters.hold(job_id)
        reason = _why_not_retried(job)
        if job is None or reason:
            return Verdict(job_id, reason)
        verdict = _restart(unit, job) if job.moves_document else _replay(unit, job)
        if verdict.reason is None:
            confirm(verdict)
        return verdict


def discard_job(job_id: UUID, *, transactions: Transactions) -> Verdict:
    """Remove a dead letter with its attempts; its document stays failed."""
    with transactions() as unit:
        job = unit.dead_letters.hold(job_id)
        if job is None:
            return Verdict(job_id, NO_SUCH_JOB)
        if job.state is not JobState.FAILED:
            return Verdict(job_id, f"it is {job.state}; only failed jobs can be discarded")
        unit.dead_letters.discard(job_id)
        return Verdict(job_id)


NO_SUCH_JOB = "there is no such job"


def _replay(unit: Unit, job: StoredJob) -> Verdict:
    unit.dead_letters.replay(job.id)
    return Verdict(job.id, new_job_id=job.id)


def _restart(unit: Unit, job: StoredJob) -> Verdict:
    assert job.document_id is not None  # it moves one  # noqa: S101
    new_job_id = restart_document(unit, job.document_id, job.workspace_id)
    if new_job_id is None:
        return Verdict(job.id, "its document has just been changed")
    unit.dead_letters.supersede(job.id, new_job_id)
    return Verdict(job.id, new_job_id=new_job_id)


def _why_not_retried(job: StoredJob | None) -> str | None:
    if job is None:
        return NO_SUCH_JOB
    if job.state not in RETRIABLE:
        return f"it is {job.state}; only failed and cancelled jobs can be retried"
    if job.replayed_by is not None:
        return f"job {job.replayed_by} has taken its place"
    return _why_document_stays(job) if job.moves_document else None


def _why_document_stays(job: StoredJob) -> str | None:
    if job.document_state is not DocumentState.FAILED:
        return f"its document is {job.document_state or 'gone'}"
    if job.document_job_id != job.id:
        return f"its document failed later, in job {job.document_job_id}; retry that one"
    return None
