"""Notifications: what users were told, what they have read, and what they wish to hear of."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import problems
from adapters.api.jobs import BEGUN, put_in
from adapters.api.models import data
from adapters.api.problems import not_found
from adapters.api.repeats import IdempotencyKey
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.notifications import Row
from domain.api_keys import Scope
from domain.notifications import USER, Preference, Seen

router = APIRouter(tags=["notifications"])

Here = Annotated[WorkspaceRuntime, Depends(workspace(Scope.NOTIFICATIONS))]
User = Annotated[str, Path(pattern=USER, description="The product's own name of the user.")]
OfUser = Annotated[str | None, Query(pattern=USER, description="Of this user.")]


@router.post("/tasks/notifications", status_code=202, response_model=models.Started, responses=BEGUN)
def start_notification(
    wanted: data.NewNotification, request: Request, here: Here, idempotency_key: IdempotencyKey = None
) -> Response:
    """Tell a user something, once for each `dedup_key`, wherever that user wishes."""
    return put_in(request, here, idempotency_key, "user_notification", wanted.model_dump())


@router.get("/notifications", response_model=data.NotificationList, responses=problems())
def list_notifications(
    here: Here, user: OfUser = None, unread: bool = False, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """List notifications, the latest first."""
    place = decode_cursor(cursor, (datetime.fromisoformat, UUID), user, unread)
    before = Seen(*place) if place else None
    rows = here.data.notifications.list(here.id, user=user, unread=unread, before=before, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"]), user, unread) if last else None
    return {"items": rows[:limit], "next": following}


@router.post("/notifications/read", response_model=data.Marked, responses=problems())
def read_all_notifications(
    here: Here, user: Annotated[str, Query(pattern=USER, description="Of this user.")]
) -> dict[str, int]:
    """Mark everything that a user was told as read."""
    return {"count": here.data.notifications.read(here.id, user=user)}


@router.post("/notifications/{notification_id}/read", response_model=data.Notification, responses=problems(404))
def read_notification(notification_id: UUID, here: Here) -> Row:
    """Mark a notification as read. Again changes nothing."""
    here.data.notifications.read(here.id, notification_id=notification_id)
    row = here.data.notifications.find(here.id, notification_id)
    if row is None:
        raise not_found("notification", notification_id)
    return row


@router.get("/notifications/preferences", response_model=data.PreferenceList, responses=problems())
def list_preferences(here: Here) -> dict[str, Any]:
    """List what users wish to hear of. Whoever is not here is not told of documents."""
    return {"items": here.data.notifications.preferences(here.id)}


@router.put("/notifications/preferences/{user}", response_model=data.Preference, responses=problems(400, 413))
def set_preference(user: User, wanted: data.NewPreference, here: Here) -> Row:
    """Keep what a user wishes to hear of, and where."""
    here.data.notifications.prefer(here.id, Preference(user, **wanted.model_dump()))
    return here.data.notifications.preferences(here.id, user=user)[0]


@router.delete("/notifications/preferences/{user}", status_code=204, responses=problems(404))
def delete_preference(user: User, here: Here) -> None:
    """Forget what a user wished."""
    if not here.data.notifications.forget(here.id, user):
        raise not_found("preference", user)
