"""What is told of webhooks."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.api.models.base import A_DOCUMENT, A_TASK, A_TIME, Answer, Count, example
from domain.webhooks import LONGEST_DESCRIPTION, LONGEST_URL, DeliveryState, WebhookEvent

AN_ENDPOINT = "5b0e7b0a-8f4f-4c53-9d39-0c1f7e2c6a11"
A_DELIVERY = "f3c1d2a4-2b7e-4f0e-a3f5-6d1a9b8c7e10"
A_URL = "https://example.com/hooks/headrace"

Url = Annotated[
    str, Field(min_length=1, max_length=LONGEST_URL, description="HTTPS, on the public Internet, on port 443 or 8443.")
]
Events = Annotated[list[WebhookEvent], Field(max_length=len(WebhookEvent), description="What it is told of.")]
Description = Annotated[str, Field(max_length=LONGEST_DESCRIPTION, description="One line, for people.")]

_ENDPOINT: dict[str, Any] = {
    "id": AN_ENDPOINT,
    "url": A_URL,
    "events": ["document.ready", "document.failed"],
    "description": "the shop",
    "created_at": A_TIME,
}
_HEALTH: dict[str, Any] = {
    "disabled_at": None,
    "disabled_reason": None,
    "failures": 0,
    "failing_since": None,
    "delivered_at": A_TIME,
    "pending": 0,
}


class NewEndpoint(BaseModel):
    """An endpoint to add. Without events it is told of all."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": A_URL, "events": ["document.ready"]}]}
    )

    url: Url
    events: Events = []
    description: Description = ""


class Secret(Answer):
    """A secret, shown only now. It goes into a library of the Standard Webhooks specification as it is."""

    model_config = example(id=AN_ENDPOINT, secret="whsec_" + "A" * 43 + "=")

    id: UUID = Field(description="The endpoint's.")
    secret: str = Field(description="What signs the messages from now on.")


class Endpoint(Answer):
    """An endpoint and how it is."""

    model_config = example(**_ENDPOINT, **_HEALTH)

    id: UUID
    url: str
    events: list[WebhookEvent]
    description: str
    created_at: datetime
    disabled_at: datetime | None = Field(description="Null: it is told of events.")
    disabled_reason: str | None
    failures: Count = Field(description="Attempts since the last one that was answered well.")
    failing_since: datetime | None
    delivered_at: datetime | None = Field(description="When it answered well for the last time.")
    pending: Count = Field(description="Deliveries that wait for it.")


class EndpointList(Answer):
    """The endpoints of the workspace, the oldest first."""

    items: list[Endpoint]


class Delivery(Answer):
    """One event for one endpoint."""

    model_config = example(
        id=A_DELIVERY,
        endpoint_id=AN_ENDPOINT,
        message_id="msg_0d9fc1a46f0b4f0c9c550f0d5a3d8f11",
        event="task.completed",
        data={"task_id": A_TASK, "document_id": A_DOCUMENT, "actor": "index_document", "status": "completed"},
        state="delivered",
        attempts=1,
        status=204,
        error=None,
        created_at=A_TIME,
        attempted_at=A_TIME,
        finished_at=A_TIME,
    )

    id: UUID
    endpoint_id: UUID
    message_id: str = Field(description="The `webhook-id` that the receiver sees, at every attempt the same.")
    event: WebhookEvent
    data: dict[str, Any]
    state: DeliveryState
    attempts: Count
    status: int | None = Field(description="Of the last HTTP answer.")
    error: str | None
    created_at: datetime
    attempted_at: datetime | None
    finished_at: datetime | None


class DeliveryList(Answer):
    """Some deliveries, the latest first."""

    items: list[Delivery]
    next: str | None
