"""The ledger against a model of it: whatever happens in whatever order, both say the same."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters.postgres.ledger import enqueue_in
from adapters.postgres.pool import connect
from domain.dead_letters import discard_job, retry_job
from domain.documents import Document, DocumentState
from domain.errors import JobCancelledError, LeaseLostError
from domain.jobs import FINISHED, TRANSITIONS, JobState
from domain.ledger import Claim, Outcome
from tests.builders import A_FAILURE, QUEUE, WORKSPACE, Rails, a_job

MAX_CRASHES = 2
LONG = timedelta(hours=1)
FEW = 2
LEGAL = {(source, target) for sources, target in TRANSITIONS.values() for source in sources}
#: A rescue retries, fails or cancels a running job, which the table lists; a replayed job starts where it began.
WAITING = {JobState.PENDING, JobState.RETRYING}

EMPTY = "DELETE FROM jobs; DELETE FROM job_events; DELETE FROM token_reservations; DELETE FROM unowned_blobs"


@dataclass
class Job:
    """What the model knows of a job. `states` is its whole life."""

    states: list[JobState] = field(default_factory=lambda: [JobState.PENDING])
    due: bool = True
    lease: int = 0
    attempt: int = 0
    crashes: int = 0
    asked_to_stop: bool = False
    outcomes: list[str | None] = field(default_factory=list)
    reserved: bool = False

    @property
    def state(self) -> JobState:
        return self.states[-1]

    def go(self, state: JobState) -> None:
        self.states.append(state)
        self.reserved &= state not in FINISHED

    def end_attempt(self, outcome: Outcome | str, state: JobState) -> None:
        self.outcomes[-1] = str(outcome)
        self.go(state)


class LedgerMachine(RuleBasedStateMachine):
    """Everything that producers, relays, workers, reapers and people do to the ledger, in any order."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, rails: Rails) -> None:
        super().__init__()
        self.rails = rails
        self.model: dict[UUID, Job] = {}
        self.effects: set[str] = set()
        rails.connection.execute(EMPTY)

    def holds(self, claim: Claim) -> bool:
        """Whether the attempt still owns its job."""
        job = self.model.get(claim.lease.job_id)
        return job is not None and job.state is JobState.RUNNING and job.lease == claim.lease.number

    @initialize(target=jobs)
    def begin_with_jobs(self):
        return multiple(self.send(is_late=False), self.send(is_late=False))

    @initialize(target=claims)
    def begin_with_an_attempt(self):
        return self.claim(self.send(is_late=False))

    # The rules are few and broad: Hypothesis leaves whole rules out of an example, and each of these does matter.

    @rule(claim=claims, end=st.sampled_from(["succeed", "retry", "park", "hand_back", "fail", "stop"]))
    def end_an_attempt(self, claim: Claim, end: str) -> None:
        getattr(self, end)(claim)

    @rule(claim=claims, what=st.sampled_from(["renew", "go_silent_and_be_rescued", "go_silent_and_be_rescued"]))
    def keep_leases(self, claim: Claim, what: str) -> None:
        getattr(self, what)(claim)

    @rule(job_id=jobs, what=st.sampled_from(["cancel", "cancel", "replay", "discard"]))
    def ask(self, job_id: UUID, what: str) -> None:
        getattr(self, what)(job_id)

    @rule(
        job_id=jobs,
        what=st.sampled_from(
            [
                "send_again",
                "send_in_a_transaction_that_rolls_back",
                "lose_every_hint_and_ring_again",
                "fail_what_no_worker_can_run",
            ]
        ),
    )
    def disturb(self, job_id: UUID, what: str) -> None:
        getattr(self, what)(job_id)

    @rule(is_later=st.booleans())
    def relay(self, is_later: bool) -> None:
        if is_later:
            self.wait()
        self.ring()

    # Producers

    @precondition(lambda self: sum(job.state not in FINISHED for job in self.model.values()) < FEW)
    @rule(target=jobs, is_late=st.booleans())
    def send(self, is_late: bool) -> UUID:
        job = a_job(delay=LONG if is_late else timedelta())
        self.rails.ledger.enqueue(job)
        self.model[job.id] = Job(due=not is_late)
        return job.id

    def send_again(self, job_id: UUID) -> None:
        if job_id in self.model:  # a discarded id is free again
            self.rails.ledger.enqueue(a_job(id=job_id))

    def send_in_a_transaction_that_rolls_back(self, _: UUID) -> None:
        with connect(self.rails.url) as connection, connection.transaction(force_rollback=True):
            enqueue_in(connection, a_job())

    # The relay, and time

    def ring(self) -> None:
        expected = {job_id for job_id, job in self.model.items() if job.state in WAITING and job.due}
        assert set(self.rails.ring()) == expected
        for job_id in expected:
            self.model[job_id].go(JobState.QUEUED)

    def lose_every_hint_and_ring_again(self, _: UUID) -> None:
        rung = self.rails.dispatch.ring_again(QUEUE, age=timedelta(), limit=1000, known=set())
        assert {job.id for job in rung} == {key for key, job in self.model.items() if job.state is JobState.QUEUED}

    def wait(self) -> None:
        self.rails.make_due()
        for job in self.model.values():
            job.due = True

    # Workers

    @rule(target=claims, job_id=jobs)
    def claim(self, job_id: UUID):
        self.wait()
        self.ring()
        return self.claim_by_any_hint(job_id)

    @precondition(lambda self: sum(job.state not in FINISHED for job in self.model.values()) < FEW)
    @rule(target=jobs)
    def send_and_ring(self):
        job_id = self.send(is_late=False)
        self.ring()
        return job_id

    @rule(target=claims, claim=claims)
    def run_elsewhere(self, claim: Claim):
        """The lease expires, and another worker claims the job: the first one does not know."""
        self.go_silent_and_be_rescued(claim)
        return self.claim(claim.lease.job_id)

    @rule(target=claims, job_id=jobs)
    def claim_by_any_hint(self, job_id: UUID):
        """Also a late one, or a second one for the same job."""
        job, claim = self.model.get(job_id), self.rails.claim(job_id)
        if job is None or job.state is not JobState.QUEUED:
            assert claim is None
            return multiple()
        assert claim is not None
        assert claim.lease.number == job.lease + 1
        job.lease, job.attempt = claim.lease.number, job.attempt + 1
        job.outcomes.append(None)
        job.go(JobState.RUNNING)
        return claim

    def succeed(self, claim: Claim) -> None:
        done = self.holds(claim) and not self.model[claim.lease.job_id].asked_to_stop
        assert self.rails.ledger.succeed(claim.lease) is done
        if done:
            self.model[claim.lease.job_id].end_attempt(Outcome.SUCCEEDED, JobState.SUCCEEDED)

    def park(self, claim: Claim) -> None:
        self.retry(claim, Outcome.PARKED, is_late=True)

    def hand_back(self, claim: Claim) -> None:
        self.retry(claim, Outcome.INTERRUPTED)

    def retry(self, claim: Claim, outcome: Outcome = Outcome.RETRYING, *, is_late: bool = False) -> None:
        done = self.holds(claim) and not self.model[claim.lease.job_id].asked_to_stop
        delay = LONG if is_late else timedelta()
        message = {"options": {"retries": 3}}
        assert self.rails.ledger.retry(claim.lease, message, A_FAILURE, delay=delay, outcome=outcome) is done
        if done:
            job = self.model[claim.lease.job_id]
            job.attempt -= outcome is not Outcome.RETRYING
            job.due = not is_late
            job.end_attempt(outcome, JobState.RETRYING)

    def fail(self, claim: Claim) -> None:
        done = self.holds(claim)
        assert self.rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE) is done
        if done:
            self.model[claim.lease.job_id].end_attempt(Outcome.FAILED, JobState.FAILED)

    def fail_what_no_worker_can_run(self, job_id: UUID) -> None:
        job = self.model.get(job_id)
        done = job is not None and job.state is JobState.QUEUED
        assert self.rails.ledger.fail(job_id, None, A_FAILURE) is done
        if job and done:
            job.go(JobState.FAILED)

    def stop(self, claim: Claim) -> None:
        done = self.holds(claim) and self.model[claim.lease.job_id].asked_to_stop
        assert self.rails.ledger.cancel(claim.lease.job_id, claim.lease) is done
        if done:
            self.model[claim.lease.job_id].end_attempt(Outcome.CANCELLED, JobState.CANCELLED)

    @rule(claim=claims, end=st.booleans(), blow_up=st.booleans())
    def write_in_a_fenced_transaction(self, claim: Claim, end: bool, blow_up: bool) -> None:
        job, key = self.model.get(claim.lease.job_id), str(uuid4())
        held = self.holds(claim)
        expected: type[Exception] | None = None
        if not held:
            expected = LeaseLostError
        elif job and job.asked_to_stop:
            expected = JobCancelledError
        elif blow_up:
            expected = ZeroDivisionError
        assert _kind(lambda: self._write(claim, key, end=end, blow_up=blow_up)) is expected
        if expected is None and job:
            self.effects.add(key)
            job.reserved = True
            if end:
                job.end_attempt(Outcome.SUCCEEDED, JobState.SUCCEEDED)

    def _write(self, claim: Claim, key: str, *, end: bool, blow_up: bool) -> None:
        with self.rails.transaction(claim.lease) as unit:
            unit.blobs.disown(key, after=LONG)
            unit.usage.reserve(_document(claim.lease.job_id), 5)
            if end:
                unit.jobs.finish()
            if blow_up:
                raise ZeroDivisionError

    # The lease keeper

    def renew(self, claim: Claim) -> None:
        lost = self.rails.leases.renew([claim.lease])
        assert lost == (set() if self.holds(claim) else {claim.lease.job_id})

    def go_silent_and_be_rescued(self, claim: Claim) -> None:
        """Also by a claim that is stale: then the job's present worker is the one that goes silent."""
        job = self.model.get(claim.lease.job_id)
        self.rails.expire(claim.lease.job_id)
        rescued = self.rails.leases.rescue_expired()
        if job is None or job.state is not JobState.RUNNING:
            assert rescued == {}
            return
        job.attempt, job.crashes, job.due, job.reserved = job.attempt - 1, job.crashes + 1, True, False
        state = JobState.FAILED if job.crashes >= MAX_CRASHES else JobState.RETRYING
        job.end_attempt("crashed", JobState.CANCELLED if job.asked_to_stop else state)
        assert rescued == {claim.lease.job_id: job.state}

    # People

    def cancel(self, job_id: UUID) -> None:
        job = self.model.get(job_id)
        done = job is not None and job.state not in FINISHED
        assert self.rails.ledger.request_cancel(job_id) is done
        if job and done:
            job.asked_to_stop = True
            if job.state is not JobState.RUNNING:
                job.go(JobState.CANCELLED)

    def replay(self, job_id: UUID) -> None:
        job = self.model.get(job_id)
        done = job is not None and job.state in TRANSITIONS["replay"][0]
        assert (retry_job(job_id, transactions=self.rails.transactions).reason is None) is done
        if job and done:
            job.asked_to_stop, job.crashes, job.due = False, 0, True
            job.go(JobState.PENDING)

    def discard(self, job_id: UUID) -> None:
        job = self.model.get(job_id)
        done = job is not None and job.state is JobState.FAILED
        assert (discard_job(job_id, transactions=self.rails.transactions).reason is None) is done
        if done:
            del self.model[job_id]

    # What is always true

    @invariant()
    def ledger_and_model_agree(self) -> None:
        rows = self.rails.connection.execute(
            "SELECT id, state, lease, attempt, crash_count, cancel_requested_at IS NOT NULL,"
            " ARRAY(SELECT outcome FROM job_runs a WHERE a.job_id = j.id ORDER BY lease),"
            " EXISTS (SELECT FROM token_reservations r WHERE r.job_id = j.id) FROM jobs j"
        )
        found = {job_id: tuple(rest) for job_id, *rest in rows}
        expected = {
            job_id: (job.state, job.lease, job.attempt, job.crashes, job.asked_to_stop, job.outcomes, job.reserved)
            for job_id, job in self.model.items()
        }
        assert found == expected

    @invariant()
    def effects_are_those_of_attempts_that_held_their_lease(self) -> None:
        row = self.rails.row(
            "SELECT ARRAY(SELECT key FROM unowned_blobs) AS effects,"
            " (SELECT count(*) FROM token_reservations WHERE job_id NOT IN (SELECT id FROM jobs)) AS orphans"
        )
        assert set(row["effects"]) == self.effects
        assert row["orphans"] == 0, "nothing is left of what was rolled back or discarded"

    @invariant()
    def nothing_moved_but_along_the_table(self) -> None:
        moves = {move for job in self.model.values() for move in pairwise(job.states)}
        assert moves <= LEGAL


def _document(job_id: UUID) -> Document:
    return Document(uuid4(), WORKSPACE, "", DocumentState.INDEXING, "", b"", 0, 0, 1, job_id)


def _kind(work) -> type[Exception] | None:
    try:
        work()
    except Exception as error:
        return type(error)
    return None


def test_the_ledger_does_what_the_model_says(own_rails: Rails) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(own_rails),
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # shrinking takes minutes; the failing steps are printed as they are
            suppress_health_check=list(HealthCheck),
        ),
    )
