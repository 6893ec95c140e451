"""Documents: upload, look at, replace, build anew, delete."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import file_body, located, problems
from adapters.api.downloads import send_blob
from adapters.api.problems import Problem, body_of, not_found, problem_of, try_again
from adapters.api.repeats import IdempotencyKey, Remember, Repeatable, respond
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.api_reading import Row
from adapters.postgres.idempotency import Answer
from domain.api_keys import Scope
from domain.documents import DocumentState
from domain.errors import HeadraceError
from domain.intake import Confirm, Receipt

router = APIRouter(prefix="/documents", tags=["documents"])

Readable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.READ_DOCUMENTS))]
Writable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.WRITE_DOCUMENTS))]
AsCopy = Annotated[bool, Query(description="Add the file even if the workspace has the same bytes already.")]
States = Annotated[list[DocumentState] | None, Query(description="In one of these states.")]

#: When to look at a task for the first time.
LOOK_AGAIN = {"Retry-After": "1"}
BACKLOG_SECONDS = 30

#: Columns of a document's row that its answer shows elsewhere, or not at all.
_INNER = frozenset({"progress", "pages_done", "chunks_done", "failure_code", "failure_message", "blob_key"})


@router.post(
    "",
    status_code=202,
    response_model=models.Receipt,
    responses={
        200: located("The workspace has these bytes already.", retry=False) | {"model": models.Receipt},
        202: located("The file is stored; its task has begun."),
        **problems(400, 408, 409, 413, 415),
    },
    openapi_extra=file_body(),
)
async def upload_document(
    request: Request, here: Writable, copy: AsCopy = False, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store a PDF and put in the task that makes it searchable, in one transaction."""
    once = _upload_once(request, here, idempotency_key)
    await run_sync(_check_backlog, here)
    receive = partial(here.producer.receive_document, here.id, as_copy=copy)
    return respond(await request.app.state.uploads.receive_one(request, partial(_take, once, receive)))


@router.post(
    "/batch",
    status_code=202,
    response_model=models.BatchReceipt,
    responses={202: {"description": "What became of each file."}, **problems(400, 408, 413, 415)},
    openapi_extra=file_body(several=True),
)
async def upload_documents(request: Request, here: Writable, copy: AsCopy = False) -> Response:
    """Store several PDFs. Each is taken or refused by itself; sent twice, the same bytes are one document."""
    await run_sync(_check_backlog, here)

    def take(name: str, content: Iterable[bytes]) -> Receipt:
        receipt: Receipt = here.producer.receive_document(here.id, name, content, as_copy=copy)
        return receipt

    taken = await request.app.state.uploads.receive_many(request, take)
    return JSONResponse({"items": [_batch_item(name, outcome) for name, outcome in taken]}, 202)


@router.get("", response_model=models.DocumentList, responses=problems())
def list_documents(here: Readable, state: States = None, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """List documents, the newest first."""
    states = sorted(set(state or []))
    after = decode_cursor(cursor, (datetime.fromisoformat, UUID), states)
    rows = here.reading.documents(states=states, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"]), states) if last else None
    return {"items": [shown(row) for row in rows[:limit]], "next": following}


@router.get("/{document_id}", response_model=models.Document, responses=problems(404))
def read_document(document_id: UUID, here: Readable) -> dict[str, Any]:
    """Return a document: how far it is, and what went wrong if anything did."""
    return shown(_found(here, document_id))


@router.delete("/{document_id}", status_code=204, responses=problems(404))
def delete_document(document_id: UUID, here: Writable) -> None:
    """Delete a document with all that was made of it, and stop its task."""
    if not here.producer.delete_document(document_id, here.id):
        raise not_found("document", document_id)


@router.get("/{document_id}/pages/{number}", response_model=models.Page, responses=problems(404))
def read_page(document_id: UUID, number: Annotated[int, Path(ge=1, le=2**31 - 1)], here: Readable) -> dict[str, Any]:
    """Return the text of one page of the version that readers see."""
    page = here.reading.page(document_id, number)
    if page is None:
        _found(here, document_id)
        raise Problem(404, "page_not_found", f"Readers see no page {number} of this document.")
    return {"document_id": document_id, **page}


@router.get("/{document_id}/chunks", response_model=models.ChunkList, responses=problems(404))
def list_chunks(document_id: UUID, here: Readable, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """List the chunks of the version that readers see, in reading order. A new version ends a cursor's life."""
    generation = _found(here, document_id)["generation"]
    after = decode_cursor(cursor, (_ordinal,), document_id, generation)
    rows = here.reading.chunks(document_id, generation, after=after[0] if after else -1, limit=limit + 1)
    following = encode_cursor((rows[limit - 1]["ordinal"],), document_id, generation) if len(rows) > limit else None
    return {"generation": generation, "items": rows[:limit], "next": following}


@router.get(
    "/{document_id}/file",
    response_class=FileResponse,
    responses={
        200: {"description": "The file as it was uploaded.", "content": {"application/pdf": {}}},
        206: {"description": "A part of it."},
        **problems(400, 404, 416),
    },
)
def read_file(document_id: UUID, request: Request, here: Readable) -> FileResponse:
    """Return the uploaded file."""
    document = _found(here, document_id)
    return send_blob(
        request,
        document["blob_key"],
        media_type="application/pdf",
        filename=document["name"],
        headers={"ETag": f'"{document["sha256"]}"'},
    )


@router.put(
    "/{document_id}/file",
    status_code=202,
    response_model=models.Receipt,
    responses={
        200: located("The document has these bytes already.", retry=False) | {"model": models.Receipt},
        202: located("The new version is stored; its task has begun."),
        **problems(400, 404, 408, 409, 413, 415),
    },
    openapi_extra=file_body(),
)
async def replace_file(
    document_id: UUID, request: Request, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upload a new version. Readers see the old one until the new one is ready; the latest of several wins."""
    once = _upload_once(request, here, idempotency_key)
    await run_sync(_found, here, document_id)
    await run_sync(_check_backlog, here)

    def replace(_: str, content: Iterable[bytes], *, confirm: Confirm) -> Receipt:
        receipt: Receipt | None = here.producer.replace_document(document_id, here.id, content, confirm=confirm)
        if receipt is None:
            raise not_found("document", document_id)
        return receipt

    return respond(await request.app.state.uploads.receive_one(request, partial(_take, once, replace)))


@router.post(
    "/{document_id}/reindex",
    status_code=202,
    response_model=models.Started,
    responses={202: located("The task has begun."), **problems(400, 404, 409)},
)
def reindex_document(
    document_id: UUID, request: Request, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Build a ready or failed document anew. Readers see the old version until the new one is ready."""

    def reindex(remember: Remember) -> Answer:
        job_id = here.producer.reindex_document(
            document_id, here.id, confirm=lambda receipt: remember(started(receipt.job_id))
        )
        if job_id is None:
            _found(here, document_id)
            raise Problem(409, "conflict", "The document is being worked on already; wait until it is ready or failed.")
        return started(job_id)

    return respond(Repeatable(request, here, idempotency_key).answer(reindex))


def started(job_id: UUID | None) -> Answer:
    """Answer that a task was put in."""
    return Answer(202, {"Location": f"/tasks/{job_id}", **LOOK_AGAIN}, {"task_id": str(job_id)})


def shown(row: Row) -> dict[str, Any]:
    """Turn a document's row into what callers see."""
    failure = {"code": row["failure_code"], "message": row["failure_message"]} if row["failure_code"] else None
    progress = {
        "percent": row["progress"],
        "extraction": {"done": row["pages_done"], "total": row["page_count"]},
        "indexing": {"done": row["chunks_done"], "total": row["chunk_count"]},
    }
    rest = {name: value for name, value in row.items() if name not in _INNER}
    return {**rest, "progress": progress, "failure": failure}


def _upload_once(request: Request, here: WorkspaceRuntime, key: str | None) -> Repeatable:
    return Repeatable(request, here, key, upload_seconds=request.app.state.settings.api_upload_seconds)


def _take(once: Repeatable, receive: Any, name: str, content: Iterable[bytes]) -> Answer:
    """Store one file, once, in the upload's thread."""

    def work(content: Iterable[bytes], remember: Remember) -> Answer:
        return _received(receive(name, content, confirm=lambda receipt: remember(_received(receipt))))

    return once.answer_upload(work, content, name)


def _received(receipt: Receipt) -> Answer:
    where = f"/tasks/{receipt.job_id}" if receipt.job_id else f"/documents/{receipt.document_id}"
    headers = {"Location": where, **(LOOK_AGAIN if receipt.job_id else {})}
    return Answer(202 if receipt.job_id else 200, headers, _receipt(receipt))


def _receipt(receipt: Receipt) -> dict[str, Any]:
    task_id = str(receipt.job_id) if receipt.job_id else None
    return {"document_id": str(receipt.document_id), "task_id": task_id, "is_new": receipt.is_new}


def _batch_item(name: str, outcome: Receipt | HeadraceError) -> dict[str, Any]:
    if isinstance(outcome, HeadraceError):
        return {"name": name, "receipt": None, "problem": body_of(problem_of(outcome))}
    return {"name": name, "receipt": _receipt(outcome), "problem": None}


def _check_backlog(here: WorkspaceRuntime) -> None:
    most = here.most_waiting_documents
    if here.reading.backlog(most) >= most:
        detail = f"{most:,} documents of this workspace wait to be read already; upload more when they are done."
        raise try_again(503, "backlog_full", detail, BACKLOG_SECONDS)


def _found(here: WorkspaceRuntime, document_id: UUID) -> Row:
    row = here.reading.document(document_id)
    if row is None:
        raise not_found("document", document_id)
    return row


def _ordinal(text: str) -> int:
    """Read an ordinal. Raises ValueError for what no column could hold."""
    if not 0 <= (number := int(text)) < 2**31:
        raise ValueError("out of range")
    return number
