"""`headrace media`: files of any type, and what was made of them."""

from pathlib import Path
from typing import Annotated

import typer

from domain.media import DEFAULT_QUALITY, THUMBNAIL_SIDE, Fit, Format, MediaKind, MediaState

app = typer.Typer(
    name="media",
    help="Pictures, and files that are routed by what they are.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]
Source = Annotated[str, typer.Argument(metavar="ID", help="A picture of the workspace.")]
Written = Annotated[Format | None, typer.Option("--format", help="What to write.", show_default="the source's")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of lossy formats.")]
MostBytes = Annotated[int | None, typer.Option(min=1, help="Made worse, then smaller, until it fits.")]


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


@app.command("thumbnail")
def order_thumbnail(  # noqa: PLR0917 - typer calls it by name
    source: Annotated[str, typer.Argument(metavar="ID", help="A picture; with --page, a document.")],
    page: Annotated[int | None, typer.Option(min=1, help="Draw this page of a document.")] = None,
    width: Annotated[int, typer.Option(help="Most pixels.")] = THUMBNAIL_SIDE,
    height: Annotated[int, typer.Option(help="Most pixels.")] = THUMBNAIL_SIDE,
    fit: Annotated[Fit, typer.Option(help="How it meets that size.")] = Fit.INSIDE,
    written: Written = Format.WEBP,
    quality: Quality = DEFAULT_QUALITY,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that makes a small picture of an image, or of a document's page."""
    from adapters.cli.media_commands import run_order
    from domain.media import thumbnail_recipe

    recipe = thumbnail_recipe(width, height, fit=fit, file_format=written, quality=quality, page=page or 1)
    run_order(
        MediaKind.THUMBNAIL,
        source,
        recipe,
        of_document=page is not None,
        workspace=workspace,
        data_dir=data_dir,
        as_json=as_json,
    )


@app.command("optimize")
def order_optimization(  # noqa: PLR0917 - typer calls it by name
    source: Source,
    written: Written = None,
    quality: Quality = DEFAULT_QUALITY,
    max_bytes: MostBytes = None,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that writes an image anew, never in more bytes than it has."""
    from adapters.cli.media_commands import run_order
    from domain.media import parse_recipe

    recipe = parse_recipe({"format": written, "quality": quality, "max_bytes": max_bytes, "never_larger": True})
    run_order(MediaKind.OPTIMIZED, source, recipe, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command("process")
def order_processing(  # noqa: PLR0917 - typer calls it by name
    source: Source,
    operations: Annotated[str, typer.Argument(help="""JSON: '[{"op": "rotate", "degrees": 90}, {"op": "flip"}]'""")],
    written: Written = None,
    quality: Quality = DEFAULT_QUALITY,
    max_bytes: MostBytes = None,
    animated: Annotated[bool, typer.Option("--animated", help="Keep every frame.")] = False,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put in a job that carries out operations in order: resize, crop, rotate, flip, grayscale."""
    from adapters.cli.media_commands import read_operations, run_order
    from domain.media import parse_recipe

    asked = {"operations": read_operations(operations), "format": written, "quality": quality, "max_bytes": max_bytes}
    recipe = parse_recipe(asked | {"animated": animated})
    run_order(MediaKind.PROCESSED, source, recipe, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command("get")
def get_picture(
    source: Source,
    file: Annotated[Path, typer.Argument(help="Where to write it.", dir_okay=False)],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
) -> None:
    """Copy a picture that is ready into a file."""
    from adapters.cli.media_commands import run_get

    run_get(source, file, workspace=workspace, data_dir=data_dir)
