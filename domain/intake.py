"""Receive, restart and delete documents."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from domain.documents import Document, DocumentState
from domain.errors import FailureCode, PermanentError, TransientError
from domain.ids import new_id
from domain.ports import BlobStore, Transactions, Unit

#: A PDF says so within its first kilobyte (ISO 32000-1, annex H, note 13).
MAGIC, MAGIC_WINDOW = b"%PDF-", 1024

#: An upload that takes longer has died; its blob is swept.
UPLOAD_PATIENCE = timedelta(days=1)
AT_ONCE = timedelta()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an upload. `is_new`: the workspace did not have these bytes; `job_id`: the job it started."""

    document_id: UUID
    job_id: UUID | None
    is_new: bool


#: Called with the outcome inside the transaction that makes it true, last: what it writes is committed with it.
Confirm = Callable[[Receipt], None]


def unheard(_: object) -> None:
    """Confirm to nobody."""


NOT_A_PDF_SENTENCE = "The file is not a PDF: it does not begin with the mark %PDF-. Convert it to PDF and upload that."

CheckHead = Callable[[bytes], None]


def require_pdf(head: bytes) -> None:
    """Raise PermanentError (not_a_pdf) unless a file that begins like this is a PDF."""
    if MAGIC not in head:
        raise PermanentError(FailureCode.NOT_A_PDF, NOT_A_PDF_SENTENCE)


class Upload:
    """A stream of bytes that is measured, hashed and checked while it passes."""

    def __init__(self, content: Iterable[bytes], *, max_bytes: int, check_head: CheckHead = require_pdf) -> None:
        """`check_head` is shown the first kilobyte, or all there is; what it raises stops the stream."""
        self._content = content
        self._max_bytes = max_bytes
        self._check_head = check_head
        self._hash = hashlib.sha256()
        self.byte_count = 0

    def __iter__(self) -> Iterator[bytes]:
        """Pass the bytes on. Raises PermanentError: too_large, and what `check_head` raises."""
        head = b""
        for part in self._content:
            self._measure(part)
            if len(head) < MAGIC_WINDOW:
                head += part
                if len(head) >= MAGIC_WINDOW:
                    self._check_head(head[:MAGIC_WINDOW])
            yield part
        if len(head) < MAGIC_WINDOW:
            self._check_head(head)

    @property
    def sha256(self) -> bytes:
        """Return the hash of what has passed."""
        return self._hash.digest()

    def _measure(self, part: bytes) -> None:
        self._hash.update(part)
        self.byte_count += len(part)
        if self.byte_count > self._max_bytes:
            raise PermanentError(FailureCode.TOO_LARGE, f"The file is larger than {self._max_bytes:,} bytes.")


def receive_document(
    workspace_id: UUID,
    name: str,
    content: Iterable[bytes],
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    as_copy: bool = False,
    confirm: Confirm = unheard,
) -> Receipt:
    """Store an upload and put in the job that extracts it, in one transaction.

    The same bytes twice in a workspace are one document (a failed one starts over) unless `as_copy` asks for another.

    Raises PermanentError (too_large, not_a_pdf), InvalidJobError (no such workspace), TransientError.
    """
    with _stored(workspace_id, name, content, transactions, blobs, max_bytes) as document, transactions() as unit:
        receipt = adopt_document(unit, document, as_copy=as_copy)
        confirm(receipt)
        return receipt


def adopt_document(unit: Unit, document: Document, *, as_copy: bool = False) -> Receipt:
    """Make a stored file a document of its workspace inside the caller's transaction."""
    twin = unit.intake.find_by_content(document.workspace_id, document.content_sha256)
    return _add(unit, document) if twin is None or as_copy else _repeat(unit, document, twin)


def replace_document(
    document_id: UUID,
    workspace_id: UUID,
    content: Iterable[bytes],
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    confirm: Confirm = unheard,
) -> Receipt | None:
    """Upload a new version: readers see the old one until the new one is ready; the latest of several wins.

    Only passages whose text is new to the workspace are embedded. The bytes that the document has already change
    nothing. None when the workspace has no such document. Raises what `receive_document` raises.
    """
    with _stored(workspace_id, "", content, transactions, blobs, max_bytes) as version, transactions() as unit:
        before = unit.intake.replace(document_id, workspace_id, version)
        if before is None:
            unit.blobs.disown(version.blob_key, after=AT_ONCE)
            return None
        receipt = _replace(unit, before, version)
        confirm(receipt)
        return receipt


def _replace(unit: Unit, before: Document, version: Document) -> Receipt:
    if before.content_sha256 == version.content_sha256:
        unit.blobs.disown(version.blob_key, after=AT_ONCE)
        return Receipt(before.id, None, is_new=False)
    _exchange_blob(unit, old=before.blob_key, new=version.blob_key)
    unit.jobs.enqueue("extract_document", before.id, before.workspace_id, job_id=version.job_id)
    return Receipt(before.id, version.job_id, is_new=True)


def reindex_document(
    document_id: UUID, workspace_id: UUID, *, transactions: Transactions, confirm: Confirm = unheard
) -> UUID | None:
    """Build the document anew while readers see the old generation; return the job, None when it is in flight."""
    with transactions() as unit:
        job_id = restart_document(unit, document_id, workspace_id)
        if job_id is not None:
            confirm(Receipt(document_id, job_id, is_new=False))
        return job_id


def delete_document(document_id: UUID, workspace_id: UUID, *, transactions: Transactions, blobs: BlobStore) -> bool:
    """Delete a document with all that was made of it; False when the workspace has no such document."""
    with transactions() as unit:
        blob_key = unit.intake.delete(document_id, workspace_id)
        if blob_key is not None:
            unit.blobs.disown(blob_key, after=AT_ONCE)
    if blob_key is not None:
        with suppress(TransientError):  # at once for the user's sake; the sweeper does it in a few minutes
            blobs.delete(blob_key)
    return blob_key is not None


def uploaded_document(
    workspace_id: UUID, name: str, blob_key: str, *, content_sha256: bytes, byte_count: int
) -> Document:
    """Describe the document that stored bytes are to be."""
    return Document(
        id=new_id(),
        workspace_id=workspace_id,
        name=clean_name(name) or "document.pdf",
        state=DocumentState.UPLOADED,
        blob_key=blob_key,
        content_sha256=content_sha256,
        byte_count=byte_count,
        generation=0,
        target_generation=1,
        job_id=new_id(),
    )


def clean_name(name: str) -> str:
    """Return a file's name as it can be kept. File systems have names that are no text."""
    return name.replace("\0", "").encode("utf-8", "replace").decode()[:255]


@contextmanager
def _stored(  # noqa: PLR0917 - the first step of two use cases, with their ports
    workspace_id: UUID,
    name: str,
    content: Iterable[bytes],
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
) -> Iterator[Document]:
    upload = Upload(content, max_bytes=max_bytes)
    with stored_blob(workspace_id, upload, transactions=transactions, blobs=blobs) as blob_key:
        yield uploaded_document(
            workspace_id, name, blob_key, content_sha256=upload.sha256, byte_count=upload.byte_count
        )


@contextmanager
def stored_blob(
    workspace_id: UUID, content: Iterable[bytes], *, transactions: Transactions, blobs: BlobStore
) -> Iterator[str]:
    """Store bytes, noted as unowned before they arrive: whatever happens, the sweeper deletes what nobody adopts.

    An error that says that nothing was committed deletes them at once. A TransientError does not say so, nor does an
    interrupt: the transaction may have committed without our hearing of it.
    """
    blob_key = f"{workspace_id}/{uuid4()}"
    with transactions() as unit:
        unit.blobs.disown(blob_key, after=UPLOAD_PATIENCE)
    blobs.put(blob_key, content)
    try:
        yield blob_key
    except TransientError:
        raise
    except Exception:
        blobs.delete(blob_key)
        raise


def _add(unit: Unit, document: Document) -> Receipt:
    job_id = unit.jobs.enqueue("extract_document", document.id, document.workspace_id, job_id=document.job_id)
    unit.intake.add(document)
    unit.blobs.own(document.blob_key)
    return Receipt(document.id, job_id, is_new=True)


def _repeat(unit: Unit, document: Document, twin: Document) -> Receipt:
    """Start a failed twin over, with the new blob: it may have failed because its own is gone."""
    job_id = None
    if twin.state is DocumentState.FAILED:
        job_id = restart_document(unit, twin.id, twin.workspace_id, blob_key=document.blob_key)
    if job_id is not None:
        _exchange_blob(unit, old=twin.blob_key, new=document.blob_key)
    else:
        unit.blobs.disown(document.blob_key, after=AT_ONCE)
    return Receipt(twin.id, job_id, is_new=False)


def _exchange_blob(unit: Unit, *, old: str, new: str) -> None:
    unit.blobs.own(new)
    unit.blobs.disown(old, after=AT_ONCE)


def restart_document(unit: Unit, document_id: UUID, workspace_id: UUID, *, blob_key: str | None = None) -> UUID | None:
    """Start a ready or failed document over inside the caller's transaction; return the job, None if it is neither."""
    job_id = new_id()
    if not unit.intake.reindex(document_id, workspace_id, job_id, blob_key=blob_key):
        return None
    return unit.jobs.enqueue("extract_document", document_id, workspace_id, job_id=job_id)
