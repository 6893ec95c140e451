"""`headrace jobs`: its commands and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

JOBS_HELP = """\
Look at jobs; retry, cancel or discard them, one by one or all that fit a filter.

A command over a filter shows first what it would touch and asks. Ages are written 90s, 10m, 2h, 3d or 1w.
"""

app = typer.Typer(name="jobs", help=JOBS_HELP, no_args_is_help=True, rich_markup_mode=None)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="These jobs, instead of a filter.")]
Queue = Annotated[str | None, typer.Option(help="Of this queue.")]
Actor = Annotated[str | None, typer.Option(help="Of this actor.")]
State = Annotated[list[str] | None, typer.Option("--state", help="In this state; again for more.")]
Workspace = Annotated[str | None, typer.Option(help="Of this workspace, by name or id.", show_default="all")]
Code = Annotated[str | None, typer.Option(help="Failed with this code.")]
Fingerprint = Annotated[str | None, typer.Option(help="Failed for this cause.")]
OlderThan = Annotated[str | None, typer.Option(metavar="AGE", help="Ended, or else sent, longer ago than this.")]
NewerThan = Annotated[str | None, typer.Option(metavar="AGE", help="Ended, or else sent, since then.")]
Replayed = Annotated[bool, typer.Option("--replayed", help="Also jobs whose place a later job has taken.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many, the latest.")]
All = Annotated[bool, typer.Option("--all", help="All of them, without a filter.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what it would touch, by cause, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Rate = Annotated[float, typer.Option(min=0.1, max=1000, help="Retry at most so many a second.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


@app.command("list")
def list_jobs(  # noqa: PLR0917 - typer calls it by name
    queue: Queue = None,
    actor: Actor = None,
    state: State = None,
    workspace: Workspace = None,
    code: Code = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    replayed: Replayed = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List jobs, the latest first; `--state failed` lists the dead letters."""
    from adapters.cli.dead_letters import run_list, wanted

    which = wanted(
        queue=queue,
        actor=actor,
        states=state,
        code=code,
        fingerprint=fingerprint,
        older_than=older_than,
        newer_than=newer_than,
        replayed=replayed,
    )
    run_list(which, workspace=workspace, limit=limit, data_dir=data_dir, as_json=as_json)


@app.command()
def show(
    job: Annotated[str, typer.Argument(metavar="ID")],
    traceback: Annotated[bool, typer.Option("--traceback", help="Print the tracebacks, too.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a job: arguments, attempts and their errors, and how its document is."""
    from adapters.cli.dead_letters import run_show

    run_show(job, traceback=traceback, data_dir=data_dir, as_json=as_json)


@app.command()
def retry(  # noqa: PLR0917 - typer calls it by name
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    state: State = None,
    workspace: Workspace = None,
    code: Code = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    everything: All = False,
    rate: Rate = 50.0,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run jobs again that failed (`--state cancelled`: that were cancelled). Exits with 1 if any was refused.

    The job of a document starts the document over as a new job; texts that were embedded are not paid for again.
    """
    from adapters.cli.dead_letters import RETRY, Manner, run_bulk, wanted

    which = wanted(
        ids,
        queue=queue,
        actor=actor,
        states=state,
        code=code,
        fingerprint=fingerprint,
        older_than=older_than,
        newer_than=newer_than,
    )
    manner = Manner(limit=limit, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json, rate=rate)
    raise typer.Exit(run_bulk(RETRY, which, manner, workspace=workspace, data_dir=data_dir))


@app.command()
def cancel(  # noqa: PLR0917 - typer calls it by name
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    state: State = None,
    workspace: Workspace = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs: at once while they wait, at their next safe point while they run. Exits with 1 if any was refused.

    The document of a cancelled job is failed, with the code `cancelled`.
    """
    from adapters.cli.dead_letters import CANCEL, Manner, run_bulk, wanted

    which = wanted(ids, queue=queue, actor=actor, states=state, older_than=older_than, newer_than=newer_than)
    manner = Manner(limit=limit, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json)
    raise typer.Exit(run_bulk(CANCEL, which, manner, workspace=workspace, data_dir=data_dir))


@app.command()
def discard(  # noqa: PLR0917 - typer calls it by name
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    workspace: Workspace = None,
    code: Code = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    replayed: Replayed = False,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove failed jobs with their attempts; their documents stay failed. Exits with 1 if any was refused."""
    from adapters.cli.dead_letters import DISCARD, Manner, run_bulk, wanted

    which = wanted(
        ids,
        queue=queue,
        actor=actor,
        code=code,
        fingerprint=fingerprint,
        older_than=older_than,
        newer_than=newer_than,
        replayed=replayed,
    )
    manner = Manner(limit=limit, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json)
    raise typer.Exit(run_bulk(DISCARD, which, manner, workspace=workspace, data_dir=data_dir))
