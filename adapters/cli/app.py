"""The commands and their options. What they do is imported when they run, so that `--help` is fast."""

from pathlib import Path
from typing import Annotated

import typer

from adapters.cli import data, jobs, keys, mail, media, webhooks
from adapters.cli.programs import DEFAULT_PROCESSES, DEFAULT_THREADS

EXAMPLES = """\
PDFs in, retrieval-ready chunks out.

Start here: `headrace demo` shows everything in ten seconds. `headrace up` runs it; then, in another terminal,
`headrace ingest FILE.pdf --wait` and `headrace search "your question"`.
"""

app = typer.Typer(
    name="headrace",
    help=EXAMPLES,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

app.add_typer(jobs.app)
app.add_typer(keys.app)
app.add_typer(keys.workspaces)
app.add_typer(webhooks.app)
app.add_typer(data.exports)
app.add_typer(data.erase)
app.add_typer(data.notifications)
app.command()(data.warm)
app.add_typer(media.app)
app.add_typer(mail.app)

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]
Processes = Annotated[int, typer.Option(min=1, help="Worker processes.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads per worker process.")]


@app.command()
def up(
    data_dir: DataDir = None,
    processes: Processes = DEFAULT_PROCESSES,
    threads: Threads = DEFAULT_THREADS,
    postgres_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Let PostgreSQL listen on this port of 127.0.0.1, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run everything: PostgreSQL, Valkey, workers, scheduler, HTTP API. Ctrl-C stops all of it.

    DATABASE_URL and REDIS_URL name servers to use instead.
    """
    from adapters.cli.up import run_up

    code = run_up(data_dir, processes=processes, threads=threads, postgres_port=postgres_port, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def demo(
    pdf: Annotated[Path | None, typer.Argument(help="A PDF of yours.", show_default="the sample")] = None,
    query: Annotated[str | None, typer.Option(help="What to ask it.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary data folder.")] = False,
    as_json: Json = False,
) -> None:
    """Ingest one PDF, search it, stop, leave nothing behind."""
    from adapters.cli.demo import run_demo

    raise typer.Exit(run_demo(pdf, query=query, keep=keep, as_json=as_json))


@app.command()
def migrate(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Bring the database to this version: schema, and the vector index of the configured model."""
    from adapters.cli.migrate import run_migrate

    run_migrate(data_dir, as_json=as_json)


@app.command()
def ingest(  # noqa: PLR0917 - typer calls it by name
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="PDFs, folders of PDFs, or - for a pipe.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow them until they are ready or failed.")] = False,
    as_copy: Annotated[bool, typer.Option("--as-copy", help="Add files that the workspace already has again.")] = False,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Upload PDFs. Exits with 1 if any of them failed."""
    from adapters.cli.ingest import run_ingest

    code = run_ingest(files, workspace=workspace, data_dir=data_dir, wait=wait, as_copy=as_copy, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def status(
    item: Annotated[str | None, typer.Argument(metavar="[ID]", help="A document or a job.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest documents to list.")] = 10,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show documents, queues and workers; with an ID, everything about one document or job."""
    from adapters.cli.status import run_status

    run_status(item, limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="A question, or words.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many passages.")] = 5,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find the passages that answer a question best, by meaning and by words."""
    from adapters.cli.search import run_search

    run_search(query, limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def reindex(
    document: Annotated[str, typer.Argument(metavar="ID")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Build a document anew. Searches find its old chunks until the new ones are ready."""
    from adapters.cli.change import run_reindex

    run_reindex(document, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def replace(
    document: Annotated[str, typer.Argument(metavar="ID")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new version, or - for a pipe.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Upload a new version of a document. Searches find the old one until the new one is ready."""
    from adapters.cli.change import run_replace

    run_replace(document, file, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def delete(
    document: Annotated[str, typer.Argument(metavar="ID")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Delete a document: its file, pages, chunks and vectors."""
    from adapters.cli.change import run_delete

    run_delete(document, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check everything that Headrace needs and say what to do. Exits with 1 if something fails."""
    from adapters.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(data_dir, as_json=as_json))


@app.command()
def worker(
    queues: Annotated[
        list[str] | None, typer.Option("--queues", "-q", help="Serve these alone; again for more.", show_default="all")
    ] = None,
    processes: Processes = DEFAULT_PROCESSES,
    threads: Threads = DEFAULT_THREADS,
    data_dir: DataDir = None,
) -> None:
    """Run workers: `dramatiq actors`, which takes this command's place."""
    from adapters.cli.place import resolve
    from adapters.cli.programs import become, worker_command

    _, place = resolve(data_dir)
    environment = place.environment if place else []
    become(worker_command(environment, processes=processes, threads=threads, queues=queues or []))


@app.command()
def schedule(data_dir: DataDir = None) -> None:
    """Run the scheduler: `periodiq actors`, which takes this command's place. Two of them do no harm."""
    from adapters.cli.place import resolve
    from adapters.cli.programs import become, scheduler_command

    _, place = resolve(data_dir)
    become(scheduler_command(place.environment if place else []))


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="API_HOST")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port.", show_default="API_PORT")] = None,
    data_dir: DataDir = None,
) -> None:
    """Serve the HTTP API, in this command's place. `headrace keys create` makes the keys that it asks for."""
    from adapters.cli.place import resolve
    from adapters.cli.programs import api_command, become, has_api

    _, place = resolve(data_dir)
    if not has_api():
        typer.echo(
            "The HTTP API needs fastapi, uvicorn, python-multipart and websockets: pip install 'headrace[api]'",
            err=True,
        )
        raise typer.Exit(1)
    chosen = {"API_HOST": host, "API_PORT": port}
    environment = [*(place.environment if place else []), *(f"{k}={v}" for k, v in chosen.items() if v is not None)]
    become(api_command(environment))
