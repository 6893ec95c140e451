"""`headrace media`: files of any type, and what was made of them."""

from pathlib import Path
from typing import Annotated

import typer

from domain.media import MediaKind, MediaState

app = typer.Typer(
    name="media",
    help="Pictures, and files that are routed by what they are.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]


@app.command("add")
def add_files(
    files: Annotated[list[Path], typer.Argument(help="Files of any type.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Upload files; a PDF becomes a document, an image a picture with a thumbnail."""
    from adapters.cli.media_commands import run_add

    raise typer.Exit(run_add(files, workspace=workspace, data_dir=data_dir, as_json=as_json))


@app.command("list")
def list_media(  # noqa: PLR0917 - typer calls it by name
    workspace: Workspace = "default",
    kind: Annotated[MediaKind | None, typer.Option(help="Of this kind.")] = None,
    state: Annotated[MediaState | None, typer.Option(help="In this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows.")] = 50,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List pictures and files, the newest first."""
    from adapters.cli.media_commands import run_list

    run_list(workspace=workspace, kind=kind, state=state, limit=limit, data_dir=data_dir, as_json=as_json)
