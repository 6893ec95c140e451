"""`headrace reindex`, `headrace replace` and `headrace delete`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from adapters.cli.ingest import PIPE, read_parts
from adapters.cli.screen import out, put_json
from adapters.cli.session import Session, session
from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.jobs import parse_uuid


def run_reindex(document: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Put in the job that builds a document anew."""
    document_id = parse_uuid("ID", document)
    with session(data_dir, workspace) as here:
        job_id = here.producer.reindex_document(document_id, here.workspace_id)
        if job_id is None:
            raise _refused(here, document_id, workspace)
    if as_json:
        put_json({"document_id": document_id, "job_id": job_id})
    else:
        out().print(f"{document_id} is built anew by job {job_id}.")


def run_replace(document: str, file: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Upload a new version of a document."""
    document_id = parse_uuid("ID", document)
    with _opened(file) as content, session(data_dir, workspace) as here:
        receipt = here.producer.replace_document(document_id, here.workspace_id, read_parts(content))
    if receipt is None:
        raise unknown("document", document_id, workspace)
    if as_json:
        put_json(receipt)
    elif receipt.is_new:
        out().print(f"{document_id} gets its new version by job {receipt.job_id}.")
    else:
        out().print(f"{document_id} has these bytes already.")


def run_delete(document: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Delete a document with all that was made of it."""
    document_id = parse_uuid("ID", document)
    with session(data_dir, workspace) as here:
        if not here.producer.delete_document(document_id, here.workspace_id):
            raise unknown("document", document_id, workspace)
    if as_json:
        put_json({"document_id": document_id, "deleted": True})
    else:
        out().print(f"{document_id} is deleted.")


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == PIPE:
        yield sys.stdin.buffer
        return
    try:
        content = Path(file).open("rb")  # noqa: SIM115 - closed two lines below; only opening is translated
    except OSError as error:
        raise InvalidJobError(f"{file} cannot be read: {error.strerror or error}") from None
    with content:
        yield content


def unknown(what: str, item: UUID, workspace: str) -> PermanentError:
    """Say that the workspace has no such thing."""
    message = f"There is no {what} {item} in workspace {workspace!r}; `headrace status` lists the newest documents."
    return PermanentError(FailureCode.DOCUMENT_MISSING, message)


def unknown_job(job_id: UUID) -> PermanentError:
    """Say that there is no such job, in any workspace."""
    return PermanentError(FailureCode.UNKNOWN_JOB, f"There is no job {job_id}; `headrace jobs list` lists the latest.")


def _refused(here: Session, document_id: UUID, workspace: str) -> PermanentError:
    row = here.reading.document(document_id, here.workspace_id)
    if row is None or row["state"] == "deleted":
        return unknown("document", document_id, workspace)
    message = f"{row['name']} is {row['state']} already: wait until it is ready or failed."
    return PermanentError(FailureCode.DOCUMENT_MISSING, message)
