"""`headrace ingest`: upload files, and follow them if asked."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from adapters.cli.progress import watch
from adapters.cli.reading import Row
from adapters.cli.screen import out, put_json, say, state, table
from adapters.cli.session import Session, session
from domain.errors import PermanentError, TransientError
from domain.intake import Receipt

PIPE = "-"
PART_BYTES = 1024 * 1024
NO_FILE = "no_file"


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of a file at the door: a receipt, or a code and a sentence."""

    file: str
    receipt: Receipt | None = None
    code: str = ""
    sentence: str = ""


def run_ingest(
    files: Sequence[str], *, workspace: str, data_dir: Path | None, wait: bool, as_copy: bool, as_json: bool
) -> int:
    """Upload every file, also when some of them cannot be; return 1 if any failed."""
    with session(data_dir, workspace) as here:
        uploads = [_upload(here, file, as_copy=as_copy) for file in _files(files)]
        rows = _rows(here, uploads, wait=wait)
    results = [_result(upload, rows) for upload in uploads]
    if as_json:
        for result in results:
            put_json(result)
    else:
        _print(results, wait=wait)
    return int(not results or any(result["state"] == "failed" for result in results))


def upload_file(path: Path, receive: Callable[..., Receipt], workspace_id: UUID, **options: bool) -> Upload:
    """Upload one file; what is wrong with it becomes part of the answer."""
    shown = legible(str(path))
    try:
        with path.open("rb") as file:
            return Upload(shown, receive(workspace_id, legible(path.name), read_parts(file), **options))
    except (PermanentError, TransientError) as error:
        return Upload(shown, None, error.code, error.message)
    except OSError as error:
        return Upload(shown, None, NO_FILE, f"The file cannot be read: {error.strerror or error}.")


def legible(name: str) -> str:
    """Write a file's name as text: on the disk it may be any bytes, which neither PostgreSQL nor a terminal takes."""
    return name.encode("utf-8", "surrogateescape").decode(errors="replace")


def read_parts(file: BinaryIO) -> Iterator[bytes]:
    """Read a file in parts, so that a large one does not have to fit into memory."""
    while part := file.read(PART_BYTES):
        yield part


def _files(names: Sequence[str]) -> Iterator[str]:
    """Take folders apart; what does not exist is reported when it is opened."""
    for name in names:
        folder = Path(name)
        if name != PIPE and folder.is_dir():
            found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() == ".pdf" and path.is_file())
            if not found:
                say(f"There is no PDF in {name}.", "yellow")
            yield from found
        else:
            yield name


def _upload(here: Session, name: str, *, as_copy: bool) -> Upload:
    receive = here.producer.receive_document
    if name != PIPE:
        return upload_file(Path(name), receive, here.workspace_id, as_copy=as_copy)
    try:
        return Upload(PIPE, receive(here.workspace_id, "stdin.pdf", read_parts(sys.stdin.buffer), as_copy=as_copy))
    except (PermanentError, TransientError) as error:
        return Upload(PIPE, None, error.code, error.message)


def _rows(here: Session, uploads: Iterable[Upload], *, wait: bool) -> dict[UUID, Row]:
    ids = list(dict.fromkeys(upload.receipt.document_id for upload in uploads if upload.receipt))
    if not ids:
        return {}
    return watch(here.reading, ids, transient=True) if wait else here.reading.follow(ids)


def _result(upload: Upload, rows: dict[UUID, Row]) -> Row:
    if upload.receipt is None:
        return {"file": upload.file, "state": "failed", "code": upload.code, "message": upload.sentence}
    receipt, row = upload.receipt, rows[upload.receipt.document_id]
    return {
        "file": upload.file,
        "document_id": receipt.document_id,
        "job_id": receipt.job_id,
        "is_new": receipt.is_new,
        "state": row["state"],
        "pages": row["page_count"],
        "chunks": row["chunk_count"],
        "code": row["failure_code"],
        "message": row["failure_message"] or row["warning"],
    }


def _print(results: Sequence[Row], *, wait: bool) -> None:
    columns = (
        ["file", "state", "document", "pages", "chunks", "note"] if wait else ["file", "state", "document", "note"]
    )
    out().print(table(columns, (_cells(result, columns) for result in results), right=["pages", "chunks"]))
    if not wait and any(result.get("job_id") for result in results):
        say("Follow them with: headrace status", "dim")


def _cells(result: Row, columns: Sequence[str]) -> list[object]:
    known = "" if result.get("is_new", True) else "the workspace has it already"
    cells = {
        "file": Path(result["file"]).name if result["file"] != PIPE else PIPE,
        "state": state(result["state"]),
        "document": result.get("document_id"),
        "pages": result.get("pages"),
        "chunks": result.get("chunks"),
        "note": ": ".join(filter(None, [result["code"], result["message"]])) or known,
    }
    return [cells[column] for column in columns]
