"""Why a task does not run: one reason, the first that applies, and an estimate only where there is ground for one."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.jobs import JobState
from domain.tasks import Outlook, Reason, TaskStatus, Waiting, explain, status_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUIET = Outlook(has_workers=True, running=0, due=1, recently_done=0, span_seconds=None, mean_seconds=None)
BUSY = Outlook(has_workers=True, running=8, due=21, recently_done=100, span_seconds=50.0, mean_seconds=4.0)
NOBODY = Outlook(has_workers=False, running=0, due=1, recently_done=0, span_seconds=None, mean_seconds=None)


def waiting(state: JobState = JobState.PENDING, *, wait: int = 0, last: str | None = None, ahead: int = 0) -> Waiting:
    return Waiting(state, NOW + timedelta(seconds=wait), last, ahead)


@pytest.mark.parametrize(
    ("job", "queue", "reason", "seconds"),
    [
        (waiting(JobState.SUCCEEDED), NOBODY, Reason.ENDED, None),
        (waiting(JobState.CANCELLED), QUIET, Reason.ENDED, None),
        (waiting(JobState.RUNNING), QUIET, Reason.RUNNING, 0),
        (waiting(wait=90), NOBODY, Reason.SCHEDULED, 90),
        (waiting(JobState.RETRYING, wait=30, last="retrying"), BUSY, Reason.RETRYING, 30),
        (waiting(JobState.RETRYING, wait=3600, last="parked"), QUIET, Reason.PARKED, 3600),
        (waiting(), NOBODY, Reason.NO_WORKER, None),
        (waiting(ahead=3), BUSY, Reason.BEHIND_OTHERS, 10.5),
        (waiting(ahead=3), QUIET, Reason.BEHIND_OTHERS, None),
        (waiting(), BUSY, Reason.NO_FREE_WORKER, 10.5),
        (waiting(JobState.QUEUED), QUIET, Reason.NO_FREE_WORKER, None),
        (waiting(), QUIET, Reason.ABOUT_TO_RUN, None),
    ],
)
def test_the_first_reason_that_applies_is_given(job: Waiting, queue: Outlook, reason: Reason, seconds: float) -> None:
    why = explain(job, queue, NOW)

    assert (why.reason, why.seconds) == (reason, seconds)
    assert why.sentence.endswith(".")


@pytest.mark.parametrize(
    ("state", "actor", "status"),
    [
        (JobState.QUEUED, "extract_document", TaskStatus.PENDING),
        (JobState.SUCCEEDED, "extract_document", None),
        (JobState.PENDING, "index_document", TaskStatus.PROCESSING),
        (JobState.RETRYING, "extract_document", TaskStatus.PROCESSING),
        (JobState.SUCCEEDED, "index_document", TaskStatus.COMPLETED),
        (JobState.SUCCEEDED, "send_mail", TaskStatus.COMPLETED),
        (JobState.CANCELLED, "send_mail", TaskStatus.CANCELLED),
        (JobState.FAILED, "index_document", TaskStatus.FAILED),
    ],
)
def test_a_job_tells_the_status_of_its_task(state: JobState, actor: str, status: TaskStatus | None) -> None:
    assert status_of(state, actor) == status


def test_too_few_ended_jobs_are_no_rate() -> None:
    two = Outlook(has_workers=True, running=1, due=5, recently_done=2, span_seconds=1.0, mean_seconds=0.5)

    assert explain(waiting(), two, NOW).seconds is None
