"""Webhooks: who is told of what, and what was told."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import problems
from adapters.api.problems import Problem, not_found
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.webhooks import DeliveryFilter, Row
from domain.api_keys import Scope
from domain.errors import InvalidWebhookError
from domain.webhooks import DeliveryState, message_id

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Here = Annotated[WorkspaceRuntime, Depends(workspace(Scope.WEBHOOKS))]

_ENDPOINT = models.Endpoint.model_fields
_DELIVERY = models.Delivery.model_fields.keys() - {"message_id"}


@router.post("/endpoints", status_code=201, response_model=models.Secret, responses=problems(400, 413))
def create_webhook_endpoint(wanted: models.NewEndpoint, here: Here, response: Response) -> models.Secret:
    """Add an endpoint. The answer has the secret that signs its messages, which is not shown again."""
    try:
        endpoint, secret = here.webhooks.create_endpoint(here.id, wanted.url, wanted.events, wanted.description)
    except InvalidWebhookError as error:
        raise Problem(422, "invalid_webhook", f"The endpoint is refused: {error}.") from None
    response.headers["Location"] = f"/webhooks/endpoints/{endpoint.id}"
    return models.Secret(id=endpoint.id, secret=secret)


@router.get("/endpoints", response_model=models.EndpointList, responses=problems())
def list_webhook_endpoints(here: Here) -> dict[str, Any]:
    """List the endpoints of the workspace and how they are."""
    return {"items": [_shown(row) for row in here.webhooks.search.endpoints(here.id)]}


@router.get("/endpoints/{endpoint_id}", response_model=models.Endpoint, responses=problems(404))
def read_webhook_endpoint(endpoint_id: UUID, here: Here) -> dict[str, Any]:
    """Return an endpoint and how it is."""
    return _shown(_found(here, endpoint_id))


@router.delete("/endpoints/{endpoint_id}", status_code=204, responses=problems(404))
def delete_webhook_endpoint(endpoint_id: UUID, here: Here) -> None:
    """Forget an endpoint with its secrets and deliveries."""
    if not here.webhooks.endpoints.delete(endpoint_id, here.id):
        raise not_found("webhook_endpoint", endpoint_id)


@router.post("/endpoints/{endpoint_id}/rotate-secret", response_model=models.Secret, responses=problems(404))
def rotate_webhook_secret(endpoint_id: UUID, here: Here) -> models.Secret:
    """Give an endpoint a new secret. For a day its messages carry signatures of both."""
    secret = here.webhooks.rotate_secret(endpoint_id, here.id)
    if secret is None:
        raise not_found("webhook_endpoint", endpoint_id)
    return models.Secret(id=endpoint_id, secret=secret)


@router.post("/endpoints/{endpoint_id}/enable", response_model=models.Endpoint, responses=problems(404))
def enable_webhook_endpoint(endpoint_id: UUID, here: Here) -> dict[str, Any]:
    """Tell an endpoint of events again, from now on."""
    here.webhooks.endpoints.enable(endpoint_id, here.id)
    return _shown(_found(here, endpoint_id))


@router.post("/endpoints/{endpoint_id}/disable", response_model=models.Endpoint, responses=problems(404))
def disable_webhook_endpoint(endpoint_id: UUID, here: Here) -> dict[str, Any]:
    """Tell an endpoint of nothing more; what waits for it is discarded."""
    here.webhooks.endpoints.disable(endpoint_id, here.id, "Disabled through the API.")
    return _shown(_found(here, endpoint_id))


@router.get("/deliveries", response_model=models.DeliveryList, responses=problems())
def list_webhook_deliveries(
    here: Here,
    endpoint_id: Annotated[UUID | None, Query(description="Of this endpoint.")] = None,
    state: Annotated[DeliveryState | None, Query(description="In this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List deliveries, the latest first."""
    find = partial(here.webhooks.search.deliveries, here.id, endpoint_id=endpoint_id, state=state)
    rows = find(before=decode_cursor(cursor, (datetime.fromisoformat, UUID), endpoint_id, state), limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"]), endpoint_id, state) if last else None
    return {"items": [_shown_delivery(row) for row in rows[:limit]], "next": following}


@router.post(
    "/deliveries/{delivery_id}/replay", status_code=202, response_model=models.Delivery, responses=problems(404, 409)
)
def replay_webhook_delivery(delivery_id: UUID, here: Here) -> dict[str, Any]:
    """Deliver again, from the first attempt on; the receiver sees the same message under the same id."""
    if here.webhooks.search.delivery(delivery_id, here.id) is None:
        raise not_found("webhook_delivery", delivery_id)
    if not here.webhooks.search.replay(here.id, DeliveryFilter(ids=(delivery_id,))):
        raise Problem(409, "conflict", "The endpoint is disabled; enable it first.")
    row = here.webhooks.search.delivery(delivery_id, here.id)
    if row is None:
        raise not_found("webhook_delivery", delivery_id)
    return _shown_delivery(row)


def _found(here: WorkspaceRuntime, endpoint_id: UUID) -> Row:
    row = here.webhooks.search.endpoint(endpoint_id, here.id)
    if row is None:
        raise not_found("webhook_endpoint", endpoint_id)
    return row


def _shown(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in _ENDPOINT}


def _shown_delivery(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in _DELIVERY} | {"message_id": message_id(row["event_id"])}
