"""Mail: to one, to many, how far, stop and go on, and who wants none."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import located, problems
from adapters.api.documents import LOOK_AGAIN
from adapters.api.problems import Problem, not_found
from adapters.api.repeats import IdempotencyKey, Remember, Repeatable, respond
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.api_reading import Row
from adapters.postgres.idempotency import Answer
from domain.api_keys import Scope
from domain.errors import InvalidMailError
from domain.mail import Attachment, Letter, MailingReceipt, NewRecipient, RecipientState, parse_address

router = APIRouter(tags=["email"])

Here = Annotated[WorkspaceRuntime, Depends(workspace(Scope.EMAIL))]

_STARTED = {202: located("The mailing is stored; its task has begun."), **problems(400, 409, 413)}


@router.post("/tasks/email/send", status_code=202, response_model=models.StartedMailing, responses=_STARTED)
def send_mail(wanted: models.NewMail, request: Request, here: Here, idempotency_key: IdempotencyKey = None) -> Response:
    """Send a mail to one. The task fails if the mail server refuses it for good."""
    return _put_in(wanted, [NewRecipient(wanted.to, wanted.to_name)], Repeatable(request, here, idempotency_key), here)


@router.post("/tasks/email/bulk", status_code=202, response_model=models.StartedMailing, responses=_STARTED)
def send_bulk_mail(
    wanted: models.NewBulkMail, request: Request, here: Here, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a mail to each of many. The task ends once everybody is settled, and fails if nobody was reached."""
    recipients = [NewRecipient(each.to, each.name, each.variables) for each in wanted.recipients]
    once = Repeatable(request, here, idempotency_key)
    return _put_in(wanted, recipients, once, here, is_bulk=True, rate_limit=wanted.rate_limit)


@router.get("/tasks/email/{task_id}", response_model=models.Mailing, responses=problems(404))
def read_mailing(task_id: UUID, here: Here) -> dict[str, Any]:
    """Return how far a mailing is. `POST /tasks/{task_id}/cancel` stops it at its next recipient."""
    return _shown(_found(here, task_id))


@router.get("/tasks/email/{task_id}/recipients", response_model=models.MailRecipientList, responses=problems(404))
def list_mail_recipients(
    task_id: UUID,
    here: Here,
    state: Annotated[RecipientState | None, Query(description="In this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List the recipients of a mailing in the caller's order."""
    _found(here, task_id)
    after = decode_cursor(cursor, (int,), task_id, state)
    rows = here.mail.desk.recipients(task_id, here.id, state=state, after=after[0] if after else 0, limit=limit + 1)
    following = encode_cursor((rows[limit - 1]["number"],), task_id, state) if len(rows) > limit else None
    return {"items": rows[:limit], "next": following}


@router.post("/tasks/email/{task_id}/pause", response_model=models.Mailing, responses=problems(404, 409))
def pause_mailing(task_id: UUID, here: Here) -> dict[str, Any]:
    """Stop a mailing at its next recipient until it is resumed."""
    return _changed(here, task_id, here.mail.desk.pause)


@router.post("/tasks/email/{task_id}/resume", response_model=models.Mailing, responses=problems(404, 409))
def resume_mailing(task_id: UUID, here: Here) -> dict[str, Any]:
    """Let a mailing go on with those who have no mail yet."""
    return _changed(here, task_id, here.mail.desk.resume)


@router.get("/email/suppressions", response_model=models.SuppressionList, responses=problems())
def list_suppressions(here: Here, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """List the addresses that the workspace sends nothing to."""
    after = decode_cursor(cursor, (parse_address,))
    rows = here.mail.desk.suppressions(here.id, after=after[0] if after else "", limit=limit + 1)
    following = encode_cursor((rows[limit - 1]["address"],)) if len(rows) > limit else None
    return {"items": rows[:limit], "next": following}


@router.post("/email/suppressions", response_model=models.NewSuppression, responses=problems(413))
def suppress_address(wanted: models.NewSuppression, here: Here) -> models.NewSuppression:
    """Send nothing more to an address, not even what waits. Said twice, the later reason is kept."""
    address = parse_address(wanted.address).lower()
    here.mail.desk.suppress(here.id, address, wanted.reason)
    return models.NewSuppression(address=address, reason=wanted.reason)


@router.delete("/email/suppressions/{address}", status_code=204, responses=problems(404))
def allow_address(address: str, here: Here) -> None:
    """Let mail go to an address again."""
    try:
        is_gone = here.mail.desk.unsuppress(here.id, parse_address(address))
    except InvalidMailError:
        is_gone = False
    if not is_gone:
        raise not_found("suppression", f"{address!r:.80}")


def _put_in(
    wanted: models.NewMail | models.NewBulkMail,
    recipients: list[NewRecipient],
    once: Repeatable,
    here: WorkspaceRuntime,
    **options: Any,
) -> Response:
    letter = Letter(
        subject=wanted.subject,
        text=wanted.text,
        html=wanted.html,
        variables=wanted.variables,
        from_name=wanted.from_name,
        reply_to=wanted.reply_to,
        unsubscribe_url=wanted.unsubscribe_url,
        attachments=[Attachment(each.blob_key, each.name, each.media_type) for each in wanted.attachments],
    )

    def put_in(content: Any, remember: Remember) -> Answer:
        for _ in content:  # what makes the request the same one
            pass
        receipt = here.mail.create_mailing(
            here.id,
            letter,
            recipients,
            in_doubt=wanted.in_doubt,
            confirm=lambda receipt: remember(_started(receipt)),
            **options,
        )
        return _started(receipt)

    whole = json.dumps(wanted.model_dump(), default=str).encode()
    return respond(once.answer_upload(put_in, [whole]))


def _started(receipt: MailingReceipt) -> Answer:
    body = {"task_id": str(receipt.task_id), "total": receipt.total}
    return Answer(202, {"Location": f"/tasks/{receipt.task_id}", **LOOK_AGAIN}, body)


def _changed(here: WorkspaceRuntime, task_id: UUID, change: Any) -> dict[str, Any]:
    _found(here, task_id)
    if not change(task_id, here.id):
        raise Problem(409, "conflict", "The mailing has ended already.")
    return _shown(_found(here, task_id))


def _shown(row: Row) -> dict[str, Any]:
    return {**row, "progress": f"{row['done']:,} / {row['total']:,}"}


def _found(here: WorkspaceRuntime, task_id: UUID) -> Row:
    row = here.mail.desk.mailing(task_id, here.id)
    if row is None:
        raise not_found("task", task_id)
    return row
