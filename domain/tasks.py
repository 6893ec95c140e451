"""The task: a job as callers see it, and why it does not run yet."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.jobs import JobState


class TaskStatus(StrEnum):
    """Where a task is. The last three are its ends."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


#: A document's task begins with the one job and ends with the other.
FIRST_JOB, SECOND_JOB = "extract_document", "index_document"


def status_of(state: JobState, actor: str) -> TaskStatus | None:
    """Tell the status of the task that is at a job; None when the task has gone on to its second job."""
    if state is JobState.SUCCEEDED:
        return None if actor == FIRST_JOB else TaskStatus.COMPLETED
    if state in (JobState.FAILED, JobState.CANCELLED):
        return TaskStatus(state)
    is_waiting = state in (JobState.PENDING, JobState.QUEUED)
    return TaskStatus.PENDING if is_waiting and actor != SECOND_JOB else TaskStatus.PROCESSING


class Reason(StrEnum):
    """Why a task is not running: one reason, the first that applies."""

    ENDED = "ended"
    RUNNING = "running"
    SCHEDULED = "scheduled"
    PARKED = "parked"
    RETRYING = "retrying"
    NO_WORKER = "no_worker"
    BEHIND_OTHERS = "behind_others"
    NO_FREE_WORKER = "no_free_worker"
    ABOUT_TO_RUN = "about_to_run"


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a queue does as a whole. `due`: jobs that wait and could run; `recently_done`: ended well in `span_seconds`.

    `mean_seconds`: what those took. Both are None when none ended of late.
    """

    has_workers: bool
    running: int
    due: int
    recently_done: int
    span_seconds: float | None
    mean_seconds: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job that a task is at. `last_outcome`: how its last run ended; `ahead`: jobs of its workspace before it."""

    state: JobState
    available_at: datetime
    last_outcome: str | None
    ahead: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task does not run. `seconds`: until it probably starts; None: nobody can tell."""

    reason: Reason
    sentence: str
    seconds: float | None = None


#: Below this many finished jobs a rate says nothing.
FEWEST_FOR_A_RATE = 3


def explain(job: Waiting, queue: Outlook, now: datetime) -> Why:
    """Give the one reason why a job does not run, and an estimate where there is ground for one."""
    if job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        return Why(Reason.ENDED, f"It does not wait: it has {ENDINGS[job.state]}.")
    if job.state is JobState.RUNNING:
        return Why(Reason.RUNNING, "It does not wait: a worker is on it.", 0)
    if job.available_at > now:
        return _until_its_time(job, (job.available_at - now).total_seconds())
    if not queue.has_workers:
        return Why(Reason.NO_WORKER, "No worker is running. It starts when one does; nothing is lost meanwhile.")
    return _in_the_queue(job, queue)


ENDINGS = {JobState.SUCCEEDED: "succeeded", JobState.FAILED: "failed", JobState.CANCELLED: "been cancelled"}


def _until_its_time(job: Waiting, seconds: float) -> Why:
    time = f"{job.available_at:%Y-%m-%d %H:%M:%S} UTC"
    if job.last_outcome == "parked":
        sentence = f"It waits for a budget or for a provider that asked to wait; it is tried again at {time}."
        return Why(Reason.PARKED, sentence, seconds)
    if job.state is JobState.RETRYING:
        return Why(Reason.RETRYING, f"Its last run failed for a passing reason; it runs again at {time}.", seconds)
    return Why(Reason.SCHEDULED, f"It was sent to run at {time}.", seconds)


def _in_the_queue(job: Waiting, queue: Outlook) -> Why:
    estimate = _estimate(job, queue)
    if job.ahead:
        jobs = "1 other job" if job.ahead == 1 else f"{job.ahead:,} other jobs"
        return Why(Reason.BEHIND_OTHERS, f"{jobs} of the workspace came before it.", estimate)
    if queue.running or job.state is JobState.QUEUED:
        sentence = "It is next of its workspace, and every worker thread of its queue is busy or about to take it."
        return Why(Reason.NO_FREE_WORKER, sentence, estimate)
    return Why(Reason.ABOUT_TO_RUN, "It is due and next in line: a worker takes it within seconds.", estimate)


def _estimate(job: Waiting, queue: Outlook) -> float | None:
    """Divide what is before it by the queue's recent rate.

    Workspaces take turns, so of the others' jobs no more come first than the workspace has itself before this one,
    for each of them; how many workspaces wait is not counted, and all that is due is the upper bound that is taken.
    """
    if queue.recently_done < FEWEST_FOR_A_RATE or not queue.span_seconds:
        return None
    return (max(job.ahead, queue.due - 1, 0) + 1) * queue.span_seconds / queue.recently_done
