"""`headrace exports`, `erase`, `notifications`, `warm`. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many of the latest.")]

exports = typer.Typer(
    name="exports",
    help="Take a workspace along: documents, pages, chunks and embeddings as JSON lines or Parquet.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
erase = typer.Typer(
    name="erase", help="Erase for good, with a receipt that counts.", no_args_is_help=True, rich_markup_mode=None
)
notifications = typer.Typer(
    name="notifications", help="What users were told.", no_args_is_help=True, rich_markup_mode=None
)


@exports.command()
def create(
    wanted: Annotated[str, typer.Option("--format", "-f", help="jsonl or parquet.")] = "jsonl",
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that exports a workspace; the export has its id."""
    from adapters.cli.data_commands import run_export

    run_export(wanted, workspace=workspace, data_dir=data_dir, as_json=as_json)


@exports.command("list")
def list_exports(
    limit: Limit = 20, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """List exports, the latest first."""
    from adapters.cli.data_commands import run_list_exports

    run_list_exports(limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@exports.command()
def download(
    export: Annotated[str, typer.Argument(metavar="ID")],
    folder: Annotated[Path, typer.Argument(help="Where to; it is made if need be.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy the files of an export into a folder, check every hash, and write manifest.json beside them."""
    from adapters.cli.data_commands import run_download

    run_download(export, folder, workspace=workspace, data_dir=data_dir, as_json=as_json)


@erase.command()
def document(
    document: Annotated[str, typer.Argument(metavar="ID")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that erases a document with all that was made of it."""
    from adapters.cli.data_commands import run_erase_document

    run_erase_document(document, workspace=workspace, data_dir=data_dir, as_json=as_json)


@erase.command("workspace")
def erase_workspace(
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name or id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that erases everything a workspace holds. Its name, keys, usage and receipts stay."""
    from adapters.cli.data_commands import run_erase_workspace

    if not yes:
        typer.confirm(f"Erase everything in the workspace {workspace}?", abort=True, err=True)
    run_erase_workspace(workspace, data_dir=data_dir, as_json=as_json)


@erase.command()
def receipts(
    limit: Limit = 20, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """List receipts, the latest first."""
    from adapters.cli.data_commands import run_receipts

    run_receipts(limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@notifications.command("list")
def list_notifications(  # noqa: PLR0917 - typer calls it by name
    user: Annotated[str | None, typer.Option(help="Of this user.")] = None,
    unread: Annotated[bool, typer.Option("--unread", help="Only what was not read.")] = False,
    limit: Limit = 20,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List notifications, the latest first."""
    from adapters.cli.data_commands import run_notifications

    run_notifications(user, unread=unread, limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@notifications.command()
def read(
    user: Annotated[str, typer.Argument(help="Whose.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Mark everything that a user was told as read."""
    from adapters.cli.data_commands import run_read

    run_read(user, workspace=workspace, data_dir=data_dir, as_json=as_json)


@notifications.command()
def prefer(  # noqa: PLR0917 - typer calls it by name
    user: Annotated[str, typer.Argument(help="Who.")],
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Only this; again for more.")] = None,
    email: Annotated[str | None, typer.Option(help="Mail it there, too.")] = None,
    webhook: Annotated[bool, typer.Option("--webhook", help="Let webhooks tell of it, too.")] = False,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Keep what a user wishes to hear of, and where."""
    from adapters.cli.data_commands import run_prefer

    run_prefer(user, kind or [], email, webhook=webhook, workspace=workspace, data_dir=data_dir, as_json=as_json)


def warm(workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Put in a job that loads a workspace's vector index and chunks into the database's memory."""
    from adapters.cli.data_commands import run_warm

    run_warm(workspace=workspace, data_dir=data_dir, as_json=as_json)
