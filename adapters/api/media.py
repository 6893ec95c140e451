"""Media: upload, order pictures, look at them, delete them; and files of any type."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import file_body, located, problems
from adapters.api.downloads import send_blob
from adapters.api.problems import Problem, not_found, try_again
from adapters.api.repeats import IdempotencyKey, Remember, Repeatable, respond
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.idempotency import Answer
from adapters.postgres.media import Row
from domain.api_keys import Scope
from domain.errors import FailureCode
from domain.filetypes import IMAGES
from domain.media import MediaKind, MediaState, Recipe
from domain.media_processing import MediaReceipt

router = APIRouter(tags=["media"])

Readable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.READ_MEDIA))]
Writable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.WRITE_MEDIA))]

#: When to look at a task for the first time, and at a full workspace again.
LOOK_AGAIN = {"Retry-After": "1"}
BACKLOG_SECONDS = 30

#: What a bug says of itself is for the log.
HIDDEN_MESSAGE = "An unexpected error ended it; it was written down. Retry its task."

ORDERED = {202: located("The task has begun; the picture is `pending`."), **problems(400, 404, 409)}
UPLOAD_PROBLEMS = problems(400, 408, 409, 413, 415)


@router.post(
    "/media",
    status_code=201,
    response_model=models.MediaReceipt,
    responses={201: {"description": "The image is stored."}, **UPLOAD_PROBLEMS},
    openapi_extra=file_body(what="An image"),
)
async def upload_media(request: Request, here: Writable, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a JPEG, PNG, WebP, GIF, AVIF or TIFF as it is. It is decoded when something is made of it."""
    return await _upload(request, here, idempotency_key, here.producer.media.receive_media)


@router.post(
    "/tasks/files/process",
    status_code=202,
    response_model=models.MediaReceipt,
    responses={202: located("The file is stored; the task that looks at it has begun."), **UPLOAD_PROBLEMS},
    openapi_extra=file_body(what="Any file"),
)
async def process_file(request: Request, here: Writable, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a file; what it is, its content says: a PDF becomes a document, an image a picture with a thumbnail."""
    return await _upload(request, here, idempotency_key, here.producer.media.receive_file)


@router.post("/tasks/media/thumbnail", status_code=202, response_model=models.MediaReceipt, responses=ORDERED)
def generate_thumbnail(
    order: models.ThumbnailOrder, request: Request, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a small picture of an image or of a document's page."""
    return _order(MediaKind.THUMBNAIL, order, request, here, idempotency_key)


@router.post("/tasks/media/optimize", status_code=202, response_model=models.MediaReceipt, responses=ORDERED)
def optimize_image(
    order: models.OptimizationOrder, request: Request, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Write an image anew in fewer bytes, never in more."""
    return _order(MediaKind.OPTIMIZED, order, request, here, idempotency_key)


@router.post("/tasks/media/process", status_code=202, response_model=models.MediaReceipt, responses=ORDERED)
def process_media(
    order: models.ProcessingOrder, request: Request, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Carry out operations in order and keep the one result."""
    return _order(MediaKind.PROCESSED, order, request, here, idempotency_key)


@router.get("/media", response_model=models.MediaList, responses=problems())
def list_media(  # noqa: PLR0917 - the framework calls it by name
    here: Readable,
    kind: Annotated[MediaKind | None, Query(description="Of this kind.")] = None,
    state: Annotated[MediaState | None, Query(description="In this state.")] = None,
    source_id: Annotated[UUID | None, Query(description="Made of this picture or document.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List pictures, the newest first."""
    filters = (kind, state, source_id)
    after = decode_cursor(cursor, (datetime.fromisoformat, UUID), *filters)
    rows = here.media.list(kind=kind, state=state, source_id=source_id, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"]), *filters) if last else None
    return {"items": [_shown(row) for row in rows[:limit]], "next": following}


@router.get("/media/{media_id}", response_model=models.Media, responses=problems(404))
def read_media(media_id: UUID, here: Readable) -> dict[str, Any]:
    """Return what is known of a picture."""
    return _shown(_found(here, media_id))


@router.get(
    "/media/{media_id}/file",
    response_class=FileResponse,
    responses={
        200: {"description": "The picture.", "content": {str(each): {} for each in sorted(IMAGES)}},
        206: {"description": "A part of it."},
        **problems(400, 404, 409, 416),
    },
)
def read_media_file(media_id: UUID, request: Request, here: Readable) -> FileResponse:
    """Return the picture itself."""
    media = _found(here, media_id)
    if media["state"] != MediaState.READY or media["blob_key"] is None:
        raise Problem(409, "conflict", f"There is no picture to send: it is {media['state']}, or a document has it.")
    return send_blob(
        request,
        media["blob_key"],
        media_type=media["media_type"],
        headers={"ETag": f'"{media["sha256"]}"', "X-Content-Type-Options": "nosniff"},
    )


@router.delete("/media/{media_id}", status_code=204, responses=problems(404))
def delete_media(media_id: UUID, here: Writable) -> None:
    """Delete a picture and stop its task. What was made of it stays."""
    if not here.producer.media.delete_media(media_id, here.id):
        raise not_found("media", media_id)


async def _upload(
    request: Request, here: WorkspaceRuntime, key: str | None, receive: Callable[..., MediaReceipt]
) -> Response:
    once = Repeatable(request, here, key, upload_seconds=request.app.state.settings.api_upload_seconds)
    await run_sync(check_backlog, here)

    def take(name: str, content: Iterable[bytes]) -> Answer:
        def work(content: Iterable[bytes], remember: Remember) -> Answer:
            return _received(receive(here.id, name, content, confirm=partial(_remembered, remember)))

        return once.answer_upload(work, content, name)

    return respond(await request.app.state.uploads.receive_one(request, take))


def _order(
    kind: MediaKind,
    order: models.ThumbnailOrder | models.OptimizationOrder | models.ProcessingOrder,
    request: Request,
    here: WorkspaceRuntime,
    key: str | None,
) -> Response:
    recipe: Recipe = order.recipe()
    check_backlog(here)
    sources = {"media_id": order.media_id, "document_id": order.document_id}

    def place(remember: Remember) -> Answer:
        confirm = partial(_remembered, remember)
        receipt = here.producer.media.order_picture(here.id, kind, recipe, **sources, confirm=confirm)
        if receipt is None:
            name, item = ("media", order.media_id) if order.media_id else ("document", order.document_id)
            raise not_found(name, item)
        return _received(receipt)

    # The order is part of the request: the same key for another one is refused.
    written = order.model_dump_json()
    repeatable = Repeatable(request, here, key)
    return respond(repeatable.answer_upload(lambda _, remember: place(remember), (), written))


def _remembered(remember: Remember, receipt: MediaReceipt) -> None:
    remember(_received(receipt))


def _received(receipt: MediaReceipt) -> Answer:
    where = f"/tasks/{receipt.job_id}" if receipt.job_id else f"/media/{receipt.media_id}"
    headers = {"Location": where, **(LOOK_AGAIN if receipt.job_id else {})}
    body = {"media_id": str(receipt.media_id), "task_id": str(receipt.job_id) if receipt.job_id else None}
    return Answer(202 if receipt.job_id else 201, headers, body)


def _shown(row: Row) -> dict[str, Any]:
    code, message = row["failure_code"], row["failure_message"]
    if code == FailureCode.INTERNAL_ERROR:
        message = HIDDEN_MESSAGE
    shown = {name: row[name] for name in models.Media.model_fields.keys() - {"failure"}}
    return shown | {"failure": {"code": code, "message": message} if code else None}


def check_backlog(here: WorkspaceRuntime) -> None:
    """Refuse more while too much waits to be made. Raises Problem."""
    most = here.most_waiting_documents
    if here.media.count_pending(most) >= most:
        detail = f"{most:,} pictures of this workspace wait to be made already; order more when they are done."
        raise try_again(503, "backlog_full", detail, BACKLOG_SECONDS)


def _found(here: WorkspaceRuntime, media_id: UUID) -> Row:
    row = here.media.find(media_id)
    if row is None:
        raise not_found("media", media_id)
    return row
