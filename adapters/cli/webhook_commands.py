"""What `headrace webhooks` does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from adapters.bootstrap import Webhooks, make_webhooks
from adapters.cli.screen import out, put_json, say, state, table
from adapters.cli.session import session
from adapters.postgres.webhooks import DeliveryFilter, Row
from domain.dead_letters import parse_age
from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.jobs import parse_uuid
from domain.webhooks import DeliveryState

ENDPOINT_COLUMNS = ["endpoint", "state", "url", "events", "waiting", "failures", "note"]
DELIVERY_COLUMNS = ["delivery", "event", "state", "attempts", "status", "created", "endpoint", "error"]


@dataclass(frozen=True, slots=True)
class Desk:
    """Webhooks of one workspace."""

    webhooks: Webhooks
    workspace_id: UUID

    def must_know(self, endpoint: str, act: Callable[[UUID], object]) -> UUID:
        """Act on an endpoint and return its id. Raises PermanentError when the workspace has none such."""
        endpoint_id = parse_uuid("ID", endpoint)
        if not act(endpoint_id):
            message = f"There is no endpoint {endpoint_id} in this workspace; `headrace webhooks list` lists them."
            raise PermanentError(FailureCode.WEBHOOK_MISSING, message)
        return endpoint_id


def run_create(
    url: str, events: Sequence[str], description: str, *, workspace: str, data_dir: Path | None, as_json: bool
) -> None:
    """Add an endpoint and print its secret."""
    with _desk(data_dir, workspace) as desk:
        endpoint, secret = desk.webhooks.create_endpoint(desk.workspace_id, url, events, description)
    if as_json:
        put_json({"id": endpoint.id, "url": endpoint.url, "events": endpoint.events, "secret": secret})
    else:
        out().print(f"{endpoint.id} is told of {', '.join(endpoint.events)}.")
        _print_secret(secret)


def run_list(*, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the endpoints; none is an answer, too."""
    with _desk(data_dir, workspace) as desk:
        endpoints = desk.webhooks.search.endpoints(desk.workspace_id)
    if as_json:
        put_json(endpoints)
    elif endpoints:
        out().print(table(ENDPOINT_COLUMNS, map(_endpoint_cells, endpoints), right=["waiting", "failures"]))
    else:
        say("The workspace has no webhook endpoint; `headrace webhooks create URL` adds one.")


def run_rotate(endpoint: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Replace a secret and print the new one."""
    secrets: list[str | None] = []

    def rotate(endpoint_id: UUID) -> str | None:
        secrets.append(desk.webhooks.rotate_secret(endpoint_id, desk.workspace_id))
        return secrets[0]

    with _desk(data_dir, workspace) as desk:
        endpoint_id = desk.must_know(endpoint, rotate)
    if as_json:
        put_json({"id": endpoint_id, "secret": secrets[0]})
    else:
        _print_secret(str(secrets[0]))


def run_change(verb: str, endpoint: str, *, workspace: str, data_dir: Path | None, as_json: bool, **more: str) -> None:
    """Enable, disable or delete an endpoint."""
    with _desk(data_dir, workspace) as desk:
        change = getattr(desk.webhooks.endpoints, verb)
        endpoint_id = desk.must_know(endpoint, lambda found: change(found, desk.workspace_id, **more))
    if as_json:
        put_json({"id": endpoint_id, "done": verb})
    else:
        out().print(f"{endpoint_id} is {verb}d.")


def run_deliveries(
    endpoint: str | None, wanted_state: str | None, *, limit: int, workspace: str, data_dir: Path | None, as_json: bool
) -> None:
    """Print the latest deliveries; none is an answer, too."""
    which = wanted(endpoint=endpoint, states=[wanted_state] if wanted_state else [])
    with _desk(data_dir, workspace) as desk:
        rows = desk.webhooks.search.deliveries(
            desk.workspace_id, endpoint_id=which.endpoint_id, state=next(iter(which.states), None), limit=limit
        )
    if as_json:
        put_json(rows)
    elif rows:
        out().print(table(DELIVERY_COLUMNS, map(_delivery_cells, rows), right=["attempts", "status"]))
    else:
        say("No delivery fits.")


def run_replay(which: DeliveryFilter, *, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> int:
    """Deliver again; return 1 if any delivery that was named was not."""
    with _desk(data_dir, workspace) as desk:
        rows = desk.webhooks.search.replay(desk.workspace_id, which, limit=limit)
    left = set(which.ids) - {row["id"] for row in rows}
    if as_json:
        put_json({"replayed": rows, "refused": sorted(left, key=str)})
    else:
        out().print(f"{len(rows):,} {'delivery' if len(rows) == 1 else 'deliveries'} will be attempted again.")
        for each in sorted(left, key=str):
            say(f"{each} was not: the workspace has no such delivery, or its endpoint is disabled.", "red")
    return int(bool(left))


def wanted(
    ids: Sequence[str] | None = None,
    *,
    endpoint: str | None = None,
    states: Sequence[str] | None = None,
    newer_than: str | None = None,
) -> DeliveryFilter:
    """Read what a person wrote into a filter; without ids and states it means what failed. Raises InvalidJobError."""
    if ids and (endpoint or states or newer_than):
        raise InvalidJobError("name deliveries or give a filter, not both")
    usual = () if ids or states is not None else (DeliveryState.FAILED,)
    return DeliveryFilter(
        ids=tuple(parse_uuid("ID", each) for each in ids or ()),
        endpoint_id=parse_uuid("ID", endpoint) if endpoint else None,
        states=tuple(_state(each) for each in states or ()) or usual,
        newer_than=parse_age(newer_than) if newer_than else None,
    )


@contextmanager
def _desk(data_dir: Path | None, workspace: str) -> Iterator[Desk]:
    with session(data_dir, workspace) as here:
        yield Desk(make_webhooks(here.settings, here.producer.pool), here.workspace_id)


def _state(name: str) -> DeliveryState:
    try:
        return DeliveryState(name)
    except ValueError:
        raise InvalidJobError(f"there is no state {name!r:.40}; there are: {', '.join(DeliveryState)}") from None


def _print_secret(secret: str) -> None:
    say("Its messages are signed with this secret, which is not shown again:")
    out().print(secret)


def _endpoint_cells(row: Row) -> list[object]:
    health = "disabled" if row["disabled_at"] else "failing" if row["failures"] else "ok"
    note = row["disabled_reason"] or row["description"]
    return [row["id"], state(health), row["url"], " ".join(row["events"]), row["pending"], row["failures"], note]


def _delivery_cells(row: Row) -> list[object]:
    created = row["created_at"].isoformat(timespec="seconds")
    cells = [row["id"], row["event"], state(row["state"]), row["attempts"], row["status"]]
    return [*cells, created, row["endpoint_id"], row["error"]]
