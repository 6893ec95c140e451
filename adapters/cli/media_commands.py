"""What `headrace media` does."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.bootstrap import make_blobs
from adapters.cli.ingest import NO_FILE, legible, read_parts
from adapters.cli.reading import Row
from adapters.cli.screen import out, put_json, say, size, state, table
from adapters.cli.session import Session, session
from adapters.postgres.media import MediaReading
from domain.errors import FailureCode, InvalidJobError, PermanentError, TransientError
from domain.jobs import parse_uuid
from domain.media import MediaKind, MediaState, Recipe

ADDED_COLUMNS = ["file", "media", "job", "note"]
LIST_COLUMNS = ["media", "kind", "state", "type", "size", "bytes", "name", "note"]


def run_add(files: Sequence[Path], *, workspace: str, data_dir: Path | None, as_json: bool) -> int:
    """Upload every file, also when some of them cannot be; return 1 if any could not."""
    with session(data_dir, workspace) as here:
        results = [_add(here, file) for file in files]
    if as_json:
        for result in results:
            put_json(result)
    else:
        cells = ([row["file"], row["media_id"], row["job_id"], row["message"]] for row in results)
        out().print(table(ADDED_COLUMNS, cells))
    return int(any(result["code"] for result in results))


def run_list(
    *, workspace: str, kind: str | None, state: str | None, limit: int, data_dir: Path | None, as_json: bool
) -> None:
    """Print pictures and files; none is an answer, too."""
    with session(data_dir, workspace) as here:
        reading = MediaReading(here.producer.pool, here.workspace_id)
        rows = reading.list(kind=kind, state=state, source_id=None, after=None, limit=limit)
    if as_json:
        put_json(rows)
    elif rows:
        out().print(table(LIST_COLUMNS, map(_cells, rows), right=["bytes"]))
    else:
        say("The workspace has no pictures; `headrace media add FILE` adds one.")


def run_order(
    kind: MediaKind,
    source: str,
    recipe: Recipe,
    *,
    of_document: bool = False,
    workspace: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put in a job that makes a picture. Raises PermanentError when there is nothing to make it of."""
    source_id = parse_uuid("ID", source)
    with session(data_dir, workspace) as here:
        of = {"document_id" if of_document else "media_id": source_id}
        receipt = here.producer.media.order_picture(here.workspace_id, kind, recipe, **of)
    if receipt is None:
        what = "document" if of_document else "picture that is ready"
        raise PermanentError(FailureCode.MEDIA_MISSING, f"There is no {what} {source_id} in this workspace.")
    if as_json:
        put_json({"media_id": receipt.media_id, "job_id": receipt.job_id})
    else:
        out().print(f"{receipt.media_id} will be the picture; `headrace status {receipt.job_id}` tells how far it is.")


def run_get(source: str, file: Path, *, workspace: str, data_dir: Path | None) -> None:
    """Copy a picture. Raises PermanentError unless it is there."""
    media_id = parse_uuid("ID", source)
    with session(data_dir, workspace) as here:
        row = MediaReading(here.producer.pool, here.workspace_id).find(media_id)
        if row is None or row["blob_key"] is None or row["state"] != MediaState.READY:
            found = f"is {row['state']}, or a document has it" if row else "is not in this workspace"
            raise PermanentError(FailureCode.MEDIA_MISSING, f"The picture {media_id} {found}.")
        with make_blobs(here.settings).local_file(row["blob_key"]) as stored:
            shutil.copyfile(stored, file)
    out().print(f"{row['media_type']}, {size(row['byte_count'])}: {file}")


def read_operations(text: str) -> Any:
    """Read JSON. Raises InvalidJobError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidJobError(f"the operations are no JSON: {error}") from None


def _add(here: Session, file: Path) -> Row:
    added: Row = {"file": legible(str(file)), "media_id": None, "job_id": None, "code": None, "message": None}
    try:
        with file.open("rb") as stream:
            receipt = here.producer.media.receive_file(here.workspace_id, legible(file.name), read_parts(stream))
    except (PermanentError, TransientError) as error:
        return added | {"code": error.code, "message": error.message}
    except OSError as error:
        return added | {"code": NO_FILE, "message": f"The file cannot be read: {error.strerror or error}."}
    return added | {"media_id": receipt.media_id, "job_id": receipt.job_id}


def _cells(row: Row) -> list[object]:
    sides = f"{row['width']} x {row['height']}" if row["width"] else None
    kind, found, note = row["kind"], row["state"], row["failure_code"]
    return [row["id"], kind, state(found), row["media_type"], sides, row["byte_count"], row["name"], note]
