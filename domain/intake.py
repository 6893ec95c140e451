"""Receive, restart and delete documents."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from domain.documents import Document, DocumentState
from domain.errors import FailureCode, PermanentError, TransientError
from domain.ports import BlobStore, Transactions, Unit

#: A PDF says so within its first kilobyte (ISO 32000-1, annex H, note 13).
MAGIC, MAGIC_WINDOW = b"%PDF-", 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an upload. `is_new`: the workspace did not have these bytes; `job_id`: the job it started."""

    document_id: UUID
    job_id: UUID | None
    is_new: bool


class Upload:
    """A stream of bytes that is measured, hashed and checked while it passes."""

    def __init__(self, content: Iterable[bytes], *, max_bytes: int) -> None:
        self._content = content
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.byte_count = 0

    def __iter__(self) -> Iterator[bytes]:
        """Pass the bytes on. Raises PermanentError: too_large, not_a_pdf."""
        head = b""
        for part in self._content:
            self._measure(part)
            head = head if len(head) >= MAGIC_WINDOW else self._check_magic(head + part)
            yield part
        if MAGIC not in head[:MAGIC_WINDOW]:
            raise PermanentError(FailureCode.NOT_A_PDF, NOT_A_PDF_SENTENCE)

    @property
    def sha256(self) -> bytes:
        """Return the hash of what has passed."""
        return self._hash.digest()

    def _measure(self, part: bytes) -> None:
        self._hash.update(part)
        self.byte_count += len(part)
        if self.byte_count > self._max_bytes:
            raise PermanentError(FailureCode.TOO_LARGE, f"The file is larger than {self._max_bytes:,} bytes.")

    @staticmethod
    def _check_magic(head: bytes) -> bytes:
        if len(head) >= MAGIC_WINDOW and MAGIC not in head[:MAGIC_WINDOW]:
            raise PermanentError(FailureCode.NOT_A_PDF, NOT_A_PDF_SENTENCE)
        return head


NOT_A_PDF_SENTENCE = "The file is not a PDF: it does not begin with the mark %PDF-. Convert it to PDF and upload that."


def receive_document(
    workspace_id: UUID,
    name: str,
    content: Iterable[bytes],
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    as_copy: bool = False,
) -> Receipt:
    """Store an upload and put in the job that extracts it, in one transaction.

    The same bytes twice in a workspace are one document (a failed one starts over) unless `as_copy` asks for another.

    Raises PermanentError (too_large, not_a_pdf), InvalidJobError (no such workspace): nothing stays behind. Raises
    TransientError: the blob stays, because the transaction may have committed without our hearing of it.
    """
    upload = Upload(content, max_bytes=max_bytes)
    blob_key = f"{workspace_id}/{uuid4()}"
    blobs.put(blob_key, upload)
    document = _uploaded(workspace_id, name, blob_key, upload)
    try:
        with transactions() as unit:
            twin = unit.intake.find_by_content(workspace_id, upload.sha256)
            receipt, unneeded = _add(unit, document) if twin is None or as_copy else _repeat(unit, document, twin)
    except TransientError:
        raise
    except BaseException:
        blobs.delete(blob_key)
        raise
    if unneeded is not None:
        blobs.delete(unneeded)
    return receipt


def reindex_document(document_id: UUID, workspace_id: UUID, *, transactions: Transactions) -> UUID | None:
    """Build the document anew while readers see the old generation; return the job, None when it is in flight."""
    with transactions() as unit:
        return _restart(unit, document_id, workspace_id)


def delete_document(document_id: UUID, workspace_id: UUID, *, transactions: Transactions, blobs: BlobStore) -> bool:
    """Delete a document with all that was made of it; False when the workspace has no such document."""
    with transactions() as unit:
        blob_key = unit.intake.delete(document_id, workspace_id)
    if blob_key is not None:
        blobs.delete(blob_key)
    return blob_key is not None


def _uploaded(workspace_id: UUID, name: str, blob_key: str, upload: Upload) -> Document:
    return Document(
        id=uuid4(),
        workspace_id=workspace_id,
        name=name.replace("\0", "")[:255] or "document.pdf",
        state=DocumentState.UPLOADED,
        blob_key=blob_key,
        content_sha256=upload.sha256,
        byte_count=upload.byte_count,
        generation=0,
        target_generation=1,
        job_id=None,
    )


def _add(unit: Unit, document: Document) -> tuple[Receipt, None]:
    job_id = unit.jobs.enqueue("extract_document", document.id, document.workspace_id)
    unit.intake.add(replace(document, job_id=job_id))
    return Receipt(document.id, job_id, is_new=True), None


def _repeat(unit: Unit, document: Document, twin: Document) -> tuple[Receipt, str]:
    """Return the receipt and the blob that is one too many. A twin may have failed because its blob is gone."""
    job_id = None
    if twin.state is DocumentState.FAILED:
        job_id = _restart(unit, twin.id, twin.workspace_id, blob_key=document.blob_key)
    return Receipt(twin.id, job_id, is_new=False), twin.blob_key if job_id else document.blob_key


def _restart(unit: Unit, document_id: UUID, workspace_id: UUID, *, blob_key: str | None = None) -> UUID | None:
    job_id = uuid4()
    if not unit.intake.reindex(document_id, workspace_id, job_id, blob_key=blob_key):
        return None
    return unit.jobs.enqueue("extract_document", document_id, workspace_id, job_id=job_id)
