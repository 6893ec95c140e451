"""Exports and erasures: take a workspace along, or have it forgotten."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import open_problems, problems
from adapters.api.downloads import send_blob
from adapters.api.jobs import BEGUN, put_in
from adapters.api.models import data
from adapters.api.problems import Problem, not_found
from adapters.api.repeats import IdempotencyKey
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.exports import Row
from domain.api_keys import Scope
from domain.exports import ExportKind, is_signed, part_name

router = APIRouter(tags=["exports"])

Here = Annotated[WorkspaceRuntime, Depends(workspace(Scope.EXPORTS))]

MEDIA_TYPES = {"jsonl": "application/gzip", "parquet": "application/vnd.apache.parquet"}

#: The year 36812: a link's time is a number of seconds, not a number of any size.
LATEST_SECONDS = 2**40


@router.post("/tasks/exports", status_code=202, response_model=models.Started, responses=BEGUN)
def start_export(
    wanted: data.NewExport, request: Request, here: Here, idempotency_key: IdempotencyKey = None
) -> Response:
    """Write documents, pages, chunks and embeddings to files. The export has the id of its task."""
    return put_in(request, here, idempotency_key, "export_workspace", {"format": str(wanted.format)})


@router.post(
    "/tasks/erasures",
    status_code=202,
    response_model=models.Started,
    responses={**BEGUN, **problems(400, 404, 409, 413)},
)
def start_erasure(
    wanted: data.NewErasure, request: Request, here: Here, idempotency_key: IdempotencyKey = None
) -> Response:
    """Erase a document, or the whole workspace, for good. The receipt has the id of its task."""
    if wanted.document_id is not None and wanted.workspace_id is None:
        if not here.data.erasures.knows(here.id, wanted.document_id):
            raise not_found("document", wanted.document_id)
        return put_in(request, here, idempotency_key, "erase_document", {"erased_id": wanted.document_id})
    if wanted.document_id is None and wanted.workspace_id == here.id:
        return put_in(request, here, idempotency_key, "erase_workspace", {})
    raise Problem(422, "invalid_request", "Name either a document, or the key's own workspace to erase all of it.")


@router.get("/exports", response_model=data.ExportList, responses=problems())
def list_exports(here: Here, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """List exports, the latest first."""
    before = decode_cursor(cursor, (datetime.fromisoformat, UUID))
    rows = here.data.exports.exports(here.id, before=before and (before[0], before[1]), limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"])) if last else None
    return {"items": [_shown(row) for row in rows[:limit]], "next": following}


@router.get("/exports/{export_id}", response_model=data.Export, responses=problems(404))
def read_export(export_id: UUID, request: Request, here: Here) -> dict[str, Any]:
    """Return an export; once it is ready, with a link to each of its files that works for a while without a key."""
    row = here.data.exports.export(export_id, here.id)
    if row is None:
        raise not_found("export", export_id)
    if row["state"] != "ready":
        return _shown(row)
    seconds = request.app.state.settings.export_link_seconds
    expires = min(int(time.time()) + seconds, int(row["expires_at"].timestamp()))
    names = [file["name"] for file in row["manifest"]["files"]]
    signatures = request.app.state.runtime.links.sign(export_id, here.id, names, expires)
    return _shown(row, expires, signatures)


@router.get(
    "/exports/{export_id}/files/{kind}/{number}",
    response_class=FileResponse,
    responses={
        200: {"description": "The file.", "content": {media: {} for media in MEDIA_TYPES.values()}},
        206: {"description": "A part of it."},
        **open_problems(400, 403, 404, 416, 422, 500, 503),
    },
)
def read_export_file(  # noqa: PLR0917 - the framework calls it by name
    export_id: UUID,
    kind: ExportKind,
    number: Annotated[int, Path(ge=1, le=2**31 - 1)],
    expires: Annotated[int, Query(ge=0, le=LATEST_SECONDS, description="From the link.")],
    signature: Annotated[str, Query(max_length=64, description="From the link.")],
    request: Request,
) -> FileResponse:
    """Return one file of an export to whoever has its link. It needs no key."""
    found = request.app.state.runtime.links.follow(export_id, kind, number)
    name = part_name(kind, number, found["format"]) if found else ""
    is_ours = found is not None and is_signed(bytes(found["secret"]), f"{export_id}/{name}", expires, signature)
    if found is None or not is_ours or expires < time.time():
        raise Problem(403, "link_invalid", "The link is wrong or has expired; GET /exports/{id} makes a new one.")
    return send_blob(
        request,
        found["blob_key"],
        media_type=MEDIA_TYPES[found["format"]],
        filename=name.replace("/", "-"),
        headers={"ETag": f'"{bytes(found["sha256"]).hex()}"', "Cache-Control": "private"},
    )


@router.get("/erasures", response_model=data.ErasureList, responses=problems())
def list_erasures(here: Here, limit: Limit = 50) -> dict[str, Any]:
    """List receipts, the latest first."""
    return {"items": here.data.erasures.receipts(here.id, limit=limit)}


@router.get("/erasures/{erasure_id}", response_model=data.Erasure, responses=problems(404))
def read_erasure(erasure_id: UUID, here: Here) -> dict[str, Any]:
    """Return a receipt: what is gone, by count."""
    rows = here.data.erasures.receipts(here.id, erasure_id=erasure_id)
    if not rows:
        raise not_found("erasure", erasure_id)
    return rows[0]


def _shown(row: Row, expires: int | None = None, signatures: dict[str, str] | None = None) -> dict[str, Any]:
    manifest = row["manifest"] or {}
    files = manifest.get("files")
    return {
        **{name: value for name, value in row.items() if name != "manifest"},
        "rows": manifest.get("rows"),
        "files": files and [{**file, "url": _link(row, file["name"], expires, signatures)} for file in files],
        "links_expire_at": datetime.fromtimestamp(expires, UTC) if expires else None,
    }


def _link(row: Row, name: str, expires: int | None, signatures: dict[str, str] | None) -> str | None:
    if not signatures:
        return None
    kind, _, file = name.partition("/")
    number = int(file.partition(".")[0])
    return f"/exports/{row['id']}/files/{kind}/{number}?expires={expires}&signature={signatures[name]}"
