"""`headrace keys` and `headrace workspaces`: who may use the HTTP API, and for what."""

from pathlib import Path
from typing import Annotated

import typer

KEYS_HELP = """\
Make and end keys of the HTTP API. A key opens one workspace.

Its text is shown once, when it is made; what is stored is a hash.
"""

app = typer.Typer(name="keys", help=KEYS_HELP, no_args_is_help=True, rich_markup_mode=None)
workspaces = typer.Typer(
    name="workspaces", help="List and add workspaces.", no_args_is_help=True, rich_markup_mode=None
)

DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


@app.command("create")
def create_key(  # noqa: PLR0917 - typer calls it by name
    name: Annotated[str, typer.Argument(help="Who will use it: so that you know it again.")],
    workspace: Annotated[str, typer.Option(help="Name or id of the workspace that it opens.")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it may do, such as documents:read; again for more.", show_default="all"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="AGE", help="How long it works: 12h, 90d, 52w.", show_default="for ever")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once."""
    from adapters.cli.access import run_create_key

    run_create_key(name, workspace=workspace, scopes=scope or [], expires=expires, data_dir=data_dir, as_json=as_json)


@app.command("list")
def list_keys(
    workspace: Annotated[str | None, typer.Option(help="Of this workspace, by name or id.", show_default="all")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List keys, revoked and expired ones too."""
    from adapters.cli.access import run_list_keys

    run_list_keys(workspace, data_dir=data_dir, as_json=as_json)


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id or prefix, as `list` shows them.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """End a key's life, at once. What it began goes on."""
    from adapters.cli.access import run_revoke_key

    run_revoke_key(key, data_dir=data_dir, as_json=as_json)


@workspaces.command("create")
def create_workspace(
    name: Annotated[str, typer.Argument()],
    daily_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Most tokens that it may spend on embeddings a day.", show_default="no limit"),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add a workspace."""
    from adapters.cli.access import run_create_workspace

    run_create_workspace(name, daily_tokens=daily_tokens, data_dir=data_dir, as_json=as_json)


@workspaces.command("list")
def list_workspaces(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List workspaces."""
    from adapters.cli.access import run_list_workspaces

    run_list_workspaces(data_dir=data_dir, as_json=as_json)
