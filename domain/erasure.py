"""Erase a document or a whole workspace, and give a receipt that counts what is gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from domain.crash_points import crash_point
from domain.errors import FailureCode, ParkedError, PermanentError
from domain.jobs import Lease
from domain.ports import BlobStore

#: Rows of one transaction.
BATCH_ROWS = 2_000

#: Jobs that run stop at their next safe point; this is when to look again.
LOOK_AGAIN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """A receipt. `counts`: what is gone, by kind."""

    erasure_id: UUID
    document_id: UUID | None
    counts: Mapping[str, int]


class Erasures(Protocol):
    """What is erased, and the receipts. Each method is one transaction that the lease fences."""

    def begin(self, workspace_id: UUID, document_id: UUID | None, lease: Lease) -> bool:
        """Open the receipt and stop every other job of the document or workspace; False while one still runs.

        Raises PermanentError (document_missing) when there is no such document, nor an earlier attempt that erased it.
        """
        ...

    def erase_document(self, workspace_id: UUID, document_id: UUID, lease: Lease) -> str | None:
        """Remove a document's rows, count them and its blob; return the blob's key, None if that is gone already."""
        ...

    def tables(self) -> Sequence[str]:
        """Return the tables that have rows of workspaces, those that refer to others first."""
        ...

    def erase_rows(self, workspace_id: UUID, table: str, lease: Lease, *, limit: int) -> int:
        """Remove some rows of a workspace from a table and count them in the receipt; return how many."""
        ...

    def condemn_blobs(self, keys: Sequence[str], lease: Lease) -> None:
        """Note that blobs are to be removed, and count those of them that were not counted before."""
        ...

    def strike_out(self, keys: Sequence[str], lease: Lease) -> None:
        """Forget blobs that are gone."""
        ...

    def finish(self, lease: Lease) -> Mapping[str, int]:
        """Close the receipt, end the job, and return what was counted."""
        ...


class BlobList(Protocol):
    """Knows which blobs there are."""

    def keys(self, prefix: str) -> Iterator[Sequence[str]]:
        """Yield the keys below a prefix, some at a time."""
        ...


def erase_document(
    erased_id: UUID, workspace_id: UUID, *, lease: Lease, erasures: Erasures, blobs: BlobStore
) -> ErasureReport:
    """Erase a document: its row, file, pages, chunks, vectors that nothing else needs, jobs, events, notifications.

    A second delivery goes on where the first one stopped. Raises PermanentError (document_missing), ParkedError.
    """
    _begin(erasures, workspace_id, erased_id, lease)
    key = erasures.erase_document(workspace_id, erased_id, lease)
    if key is not None:
        blobs.delete(key)
        erasures.strike_out([key], lease)
    return ErasureReport(lease.job_id, erased_id, erasures.finish(lease))


def erase_workspace(
    workspace_id: UUID, *, lease: Lease, erasures: Erasures, blobs: BlobStore, blob_list: BlobList
) -> ErasureReport:
    """Erase everything that a workspace holds. Its name, keys, daily usage and receipts stay.

    In batches; a second delivery goes on where the first one stopped. Raises ParkedError while jobs still run.
    """
    _begin(erasures, workspace_id, None, lease)
    for table in erasures.tables():
        while erasures.erase_rows(workspace_id, table, lease, limit=BATCH_ROWS):  # fewer are no sign of the last ones
            lease.checkpoint()
        crash_point("after_erased_rows")
    for keys in blob_list.keys(f"{workspace_id}/"):
        lease.checkpoint()
        # They are counted before: what is gone cannot be counted by the attempt after a crash.
        erasures.condemn_blobs(keys, lease)
        for key in keys:
            blobs.delete(key)
        crash_point("after_erased_blobs")
        erasures.strike_out(keys, lease)
    return ErasureReport(lease.job_id, None, erasures.finish(lease))


def _begin(erasures: Erasures, workspace_id: UUID, document_id: UUID | None, lease: Lease) -> None:
    if not erasures.begin(workspace_id, document_id, lease):
        message = "Jobs of what is to be erased still run; they were asked to stop."
        raise ParkedError(FailureCode.WORKSPACE_BUSY, message, retry_after=LOOK_AGAIN)


def no_such_document(document_id: UUID) -> PermanentError:
    """Say that there is nothing to erase."""
    return PermanentError(FailureCode.DOCUMENT_MISSING, f"There is no document {document_id} in this workspace.")
