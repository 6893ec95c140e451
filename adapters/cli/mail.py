"""`headrace mail`: its commands and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

MAIL_HELP = """\
Send mail to one or to many, see how far it is, pause and resume it, and keep the list of those who want none.

Subject and bodies are Jinja2 templates that know `name`, `address` and, for many, every other column of the file.
"""

app = typer.Typer(name="mail", help=MAIL_HELP, no_args_is_help=True, rich_markup_mode=None)

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task of a mailing.")]
Subject = Annotated[str, typer.Option(help="A template, one line.")]
TextFile = Annotated[Path | None, typer.Option(help="A template of the text.", exists=True, dir_okay=False)]
HtmlFile = Annotated[Path | None, typer.Option(help="A template of the HTML.", exists=True, dir_okay=False)]
Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


@app.command()
def send(  # noqa: PLR0917 - typer calls it by name
    to: Annotated[str, typer.Argument(help="The address.")],
    subject: Subject,
    text: Annotated[str | None, typer.Option(help="The text, a template.")] = None,
    text_file: TextFile = None,
    html_file: HtmlFile = None,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Send a mail to one."""
    from adapters.cli.mail_commands import run_send

    bodies = (text, text_file, html_file)
    run_send(to, subject, bodies, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def bulk(  # noqa: PLR0917 - typer calls it by name
    recipients: Annotated[
        Path, typer.Argument(help="CSV with the column `address`; `name` and others.", exists=True, dir_okay=False)
    ],
    subject: Subject,
    text_file: TextFile = None,
    html_file: HtmlFile = None,
    rate_limit: Annotated[int | None, typer.Option(help="Most mails a minute.", min=1)] = None,
    unsubscribe_url: Annotated[str | None, typer.Option(help="A template of an https: or mailto: address.")] = None,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Send a mail to each of many."""
    from adapters.cli.mail_commands import run_bulk

    letter = (subject, (None, text_file, html_file), unsubscribe_url)
    run_bulk(recipients, letter, rate_limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def status(task: TaskId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Say how far a mailing is."""
    from adapters.cli.mail_commands import run_status

    run_status(task, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def pause(task: TaskId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stop a mailing at its next recipient until it is resumed. `headrace jobs cancel` stops it for good."""
    from adapters.cli.mail_commands import run_change

    run_change("pause", task, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def resume(task: TaskId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let a mailing go on with those who have no mail yet."""
    from adapters.cli.mail_commands import run_change

    run_change("resume", task, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def suppress(
    address: Annotated[str, typer.Argument(help="Who gets nothing more.")],
    reason: Annotated[str, typer.Option(help="For people.")] = "by hand",
    workspace: Workspace = "default",
    data_dir: DataDir = None,
) -> None:
    """Send nothing more to an address, not even what waits."""
    from adapters.cli.mail_commands import run_suppress

    run_suppress(address, reason, workspace=workspace, data_dir=data_dir)


@app.command()
def allow(
    address: Annotated[str, typer.Argument(help="Who may get mail again.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
) -> None:
    """Take an address from the list of those who get nothing."""
    from adapters.cli.mail_commands import run_allow

    raise typer.Exit(run_allow(address, workspace=workspace, data_dir=data_dir))
