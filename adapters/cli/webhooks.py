"""`headrace webhooks`: its commands and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

WEBHOOKS_HELP = """\
Tell other programs what happened to documents and tasks: signed HTTP requests after the Standard Webhooks
specification, repeated until they are answered well.

Events: document.ready, document.failed, task.completed, task.failed. Ages are written 90s, 10m, 2h, 3d or 1w.
"""

app = typer.Typer(name="webhooks", help=WEBHOOKS_HELP, no_args_is_help=True, rich_markup_mode=None)

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="An endpoint.")]
Endpoint = Annotated[str | None, typer.Option(metavar="ID", help="Of this endpoint.")]
Workspace = Annotated[str, typer.Option(help="Name or id of the workspace.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers.", show_default="the platform's")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


@app.command()
def create(  # noqa: PLR0917 - typer calls it by name
    url: Annotated[str, typer.Argument(help="Where to send them: https, on the public Internet.")],
    event: Annotated[list[str] | None, typer.Option("--event", "-e", help="Only this; again for more.")] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint. Prints the secret that signs its messages, which is not shown again."""
    from adapters.cli.webhook_commands import run_create

    run_create(url, event or [], description, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command("list")
def list_endpoints(workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the endpoints of a workspace and how they are."""
    from adapters.cli.webhook_commands import run_list

    run_list(workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(
    endpoint: EndpointId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Give an endpoint a new secret and print it. The old one signs, too, for a day."""
    from adapters.cli.webhook_commands import run_rotate

    run_rotate(endpoint, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def disable(
    endpoint: EndpointId,
    reason: Annotated[str, typer.Option(help="For people.")] = "Disabled by hand.",
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell an endpoint of nothing more; what waits for it is discarded."""
    from adapters.cli.webhook_commands import run_change

    run_change("disable", endpoint, workspace=workspace, data_dir=data_dir, as_json=as_json, reason=reason)


@app.command()
def enable(
    endpoint: EndpointId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Tell an endpoint of events again."""
    from adapters.cli.webhook_commands import run_change

    run_change("enable", endpoint, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def delete(
    endpoint: EndpointId, workspace: Workspace = "default", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Forget an endpoint with its secrets and deliveries."""
    from adapters.cli.webhook_commands import run_change

    run_change("delete", endpoint, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def deliveries(  # noqa: PLR0917 - typer calls it by name
    endpoint: Endpoint = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered, failed or discarded.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")] = 20,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what was told, or is to be, the latest first."""
    from adapters.cli.webhook_commands import run_deliveries

    run_deliveries(endpoint, state, limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)


@app.command()
def replay(  # noqa: PLR0917 - typer calls it by name
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="These deliveries, not a filter.")] = None,
    endpoint: Endpoint = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="In this state; again for more.", show_default="failed")
    ] = None,
    newer_than: Annotated[str | None, typer.Option(metavar="AGE", help="Of changes since then.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")] = 1000,
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Deliver again, the oldest first, from the first attempt on; receivers see the same message under the same id."""
    from adapters.cli.webhook_commands import run_replay, wanted

    which = wanted(ids, endpoint=endpoint, states=state, newer_than=newer_than)
    code = run_replay(which, limit=limit, workspace=workspace, data_dir=data_dir, as_json=as_json)
    raise typer.Exit(code)
