"""What `headrace jobs` does: list, show, and retry, cancel or discard in bulk."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import typer
from rich.progress import track

from adapters.bootstrap import ProducerRuntime
from adapters.cli.change import unknown_job
from adapters.cli.progress import count
from adapters.cli.screen import facts, messages, out, put_json, say, seconds, state, table
from adapters.cli.session import Session, session
from adapters.postgres.dead_letters import JobSearch, Row
from domain.dead_letters import RETRIABLE, JobFilter, Verdict, parse_age
from domain.errors import InvalidJobError
from domain.jobs import FINISHED, JobState, parse_uuid

#: What a person sees of a job in any table.
COLUMNS = ["job", "actor", "state", "attempts", "ended", "code", "fingerprint", "error"]


@dataclass(frozen=True, slots=True)
class Verb:
    """A command over jobs. `states`: which it may touch; `usual`: which a filter means that names none."""

    name: str
    done: str
    states: frozenset[JobState]
    usual: frozenset[JobState]
    act: Callable[[ProducerRuntime], Callable[[UUID], Verdict]]


def _cancel(producer: ProducerRuntime, job_id: UUID) -> Verdict:
    is_asked = producer.ledger.request_cancel(job_id)
    return Verdict(job_id, None if is_asked else "it has ended, or never was")


_FAILED = frozenset({JobState.FAILED})
_UNFINISHED = frozenset(JobState) - FINISHED

RETRY = Verb("retry", "run again", RETRIABLE, _FAILED, lambda producer: producer.retry_job)
CANCEL = Verb("cancel", "asked to stop", _UNFINISHED, _UNFINISHED, lambda producer: partial(_cancel, producer))
DISCARD = Verb("discard", "discarded", _FAILED, _FAILED, lambda producer: producer.discard_job)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command goes about many jobs. `rate`: at most so many a second."""

    limit: int | None
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool
    rate: float | None = None


def wanted(
    ids: Sequence[str] | None = None,
    *,
    states: Sequence[str] | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    **fields: Any,
) -> JobFilter:
    """Read what a person wrote into a filter. Raises InvalidJobError."""
    return JobFilter(
        ids=tuple(parse_uuid("ID", each) for each in ids or ()),
        states=tuple(_state(each) for each in states or ()),
        older_than=parse_age(older_than) if older_than else None,
        newer_than=parse_age(newer_than) if newer_than else None,
        **fields,
    )


def run_list(which: JobFilter, *, workspace: str | None, limit: int, data_dir: Path | None, as_json: bool) -> None:
    """Print the jobs that fit; none is an answer, too."""
    with session(data_dir) as here:
        jobs = JobSearch(here.producer.pool).find(_within(here, which, workspace), limit=limit)
    if as_json:
        put_json(jobs)
    elif jobs:
        out().print(table(COLUMNS, map(_cells, jobs), right=["attempts"]))
    else:
        say("No job fits.")


def run_show(job: str, *, traceback: bool, data_dir: Path | None, as_json: bool) -> None:
    """Print everything about one job."""
    job_id = parse_uuid("ID", job)
    with session(data_dir) as here:
        search = JobSearch(here.producer.pool)
        row, attempts = search.read(job_id), search.attempts(job_id)
    if row is None:
        raise unknown_job(job_id)
    if as_json:
        put_json({"job": row, "attempts": attempts})
    else:
        _print_job(row, attempts, traceback=traceback)


def run_bulk(verb: Verb, which: JobFilter, manner: Manner, *, workspace: str | None, data_dir: Path | None) -> int:
    """Count, ask, act, report; return 1 if any job was refused. Raises InvalidJobError for a filter that is none."""
    _check(verb, which, manner, workspace)
    with session(data_dir) as here:
        jobs = _jobs(here, verb, which, manner, workspace)
        if manner.dry_run:
            return _report_count(verb, jobs, manner)
        if not which.ids and not manner.yes:
            _ask(verb, jobs)
        ids = which.ids or [job["id"] for job in jobs]
        act = verb.act(here.producer)
        verdicts = [act(job_id) for job_id in _shown(verb, _paced(ids, manner.rate), len(ids), manner)]
    return _report(verb, verdicts, manner)


def _state(name: str) -> JobState:
    try:
        return JobState(name)
    except ValueError:
        raise InvalidJobError(f"there is no state {name!r:.40}; there are: {', '.join(JobState)}") from None


def _within(here: Session, which: JobFilter, workspace: str | None) -> JobFilter:
    return replace(which, workspace_id=here.reading.workspace(workspace)) if workspace else which


def _check(verb: Verb, which: JobFilter, manner: Manner, workspace: str | None) -> None:
    has_filter = replace(which, ids=(), replayed=False) != JobFilter() or workspace is not None
    if which.ids and (has_filter or manner.everything):
        raise InvalidJobError("name jobs or give a filter, not both")
    if not which.ids and not has_filter and not manner.everything:
        raise InvalidJobError(f"which jobs? Name them, give a filter such as --actor, or {verb.name} them with --all")
    if unfit := set(which.states) - verb.states:
        names = ", ".join(sorted(verb.states))
        raise InvalidJobError(f"{verb.name} takes jobs that are {names}, not {', '.join(sorted(unfit))}")
    if not (which.ids or manner.yes or manner.dry_run) and (manner.as_json or not sys.stdin.isatty()):
        raise InvalidJobError("nobody is there to be asked: add --yes, or --dry-run to count only")


def _jobs(here: Session, verb: Verb, which: JobFilter, manner: Manner, workspace: str | None) -> list[Row]:
    states = which.states or (() if which.ids else tuple(verb.usual))
    found = replace(_within(here, which, workspace), states=states, replayed=which.replayed or bool(which.ids))
    return JobSearch(here.producer.pool).find(found, limit=manner.limit)


def _groups(jobs: Iterable[Row]) -> list[Row]:
    """Count jobs by what they have in common, the most first."""
    names = ("actor", "state", "failure_code", "failure_fingerprint")
    counts = Counter(tuple(job[name] for name in names) for job in jobs)
    return [dict(zip(names, key, strict=True)) | {"jobs": number} for key, number in counts.most_common()]


def _print_groups(jobs: Sequence[Row]) -> None:
    rows = [[*list(group.values())[:1], state(group["state"]), *list(group.values())[2:]] for group in _groups(jobs)]
    if rows:
        messages().print(table(["actor", "state", "code", "fingerprint", "jobs"], rows, right=["jobs"]))


def _report_count(verb: Verb, jobs: Sequence[Row], manner: Manner) -> int:
    if manner.as_json:
        put_json({"verb": verb.name, "dry_run": True, "jobs": len(jobs), "groups": _groups(jobs)})
    else:
        _print_groups(jobs)
        out().print(f"{count(len(jobs), 'job')} to {verb.name}.")
    return 0


def _ask(verb: Verb, jobs: Sequence[Row]) -> None:
    _print_groups(jobs)
    if jobs:
        typer.confirm(f"{verb.name.capitalize()} {count(len(jobs), 'job')}?", abort=True, err=True)


def _paced(ids: Sequence[UUID], rate: float | None) -> Iterator[UUID]:
    """Let at most `rate` jobs a second pass; a slow one is not made up for by a burst."""
    due = time.monotonic()
    for job_id in ids:
        time.sleep(max(0.0, due - time.monotonic()))
        yield job_id
        due = max(due, time.monotonic()) + 1 / rate if rate else 0.0


def _shown(verb: Verb, ids: Iterator[UUID], total: int, manner: Manner) -> Iterable[UUID]:
    is_quiet = manner.as_json or not messages().is_terminal
    return ids if is_quiet else track(ids, verb.name, total=total, console=messages(), transient=True)


def _report(verb: Verb, verdicts: Sequence[Verdict], manner: Manner) -> int:
    refused = [verdict for verdict in verdicts if verdict.reason]
    done = [verdict for verdict in verdicts if not verdict.reason]
    if manner.as_json:
        put_json({
            "verb": verb.name,
            "done": [{"job_id": each.job_id, "new_job_id": each.new_job_id} for each in done],
            "refused": [{"job_id": each.job_id, "reason": each.reason} for each in refused],
        })  # fmt: skip
    else:
        for verdict in refused:
            say(f"{verdict.job_id}: {verdict.reason}.", "yellow")
        out().print(f"{count(len(done), 'job')} {verb.done}" + (f", {len(refused)} refused." if refused else "."))
    return int(bool(refused))


def _cells(job: Row) -> list[object]:
    ended = f"{job['finished_at']:%Y-%m-%d %H:%M:%S}" if job["finished_at"] else ""
    what = [job["failure_code"], job["failure_fingerprint"], job["failure_message"]]
    return [job["id"], job["actor"], state(job["state"]), job["attempt"], ended, *what]


def _print_job(job: Row, attempts: Sequence[Row], *, traceback: bool) -> None:
    message = job.pop("message")
    given = {"arguments": message["args"] or "", **message["kwargs"]}
    hidden = ("id", "state", *message["kwargs"])
    rest = [(name.replace("_", " "), _plain(value)) for name, value in job.items() if name not in hidden]
    out().print(facts([("id", job["id"]), ("state", state(job["state"])), *given.items(), *rest]))
    if attempts:
        columns = ["attempt", "began", "took", "outcome", "error"]
        out().print(table(columns, map(_attempt_cells, attempts), right=["attempt", "took"]))
    for attempt in attempts if traceback else ():
        if attempt["traceback"]:
            out().print(f"Attempt {attempt['lease']}:\n{attempt['traceback']}")


def _attempt_cells(attempt: Row) -> list[object]:
    outcome = state(attempt["outcome"] or "running")
    return [attempt["lease"], _plain(attempt["started_at"]), seconds(attempt["seconds"]), outcome, attempt["error"]]


def _plain(value: object) -> object:
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else value
