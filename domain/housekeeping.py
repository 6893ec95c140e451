"""Finish sentences that a dead process began."""

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from uuid import UUID

from domain.errors import TransientError
from domain.ports import BlobStore, Reservations, Transactions
from domain.retention import Pruned, Retention
from domain.usage import Reservation

#: Rows handled in one round; the next tick goes on.
ROUND_LIMIT = 1000

#: Rounds of one run of `prune_history`: a run stays short, and the next tick is a few minutes away.
ROUNDS_PER_RUN = 100

#: Vectors that enter the index in one transaction: it takes about a second.
INDEX_BATCH = 500

#: So many a search compares one by one as fast as it asks the index; more enter the index even at busy times.
MOST_WAITING_VECTORS = 10_000

#: One run of `index_vectors` ends after this; the next tick is a minute away.
INDEX_SECONDS = 30.0

#: A blob that could not be deleted has its next turn after this.
BLOB_PAUSE = timedelta(hours=1)

#: Old enough that no transaction of an upload or of a hand-over can still be open.
STRANDED_AFTER = timedelta(seconds=60)


def cleanup_stale_reservations(*, reservations: Reservations) -> list[Reservation]:
    """Free reservations that expired or whose job has ended; return what was freed."""
    return reservations.free_stale(ROUND_LIMIT)


def sweep_documents(*, transactions: Transactions, stranded_after: timedelta = STRANDED_AFTER) -> Sequence[UUID]:
    """Give documents in flight whose job vanished a new one, which goes on where the old one stopped."""
    with transactions() as unit:
        return unit.sweeping.adopt_stranded(age=stranded_after, limit=ROUND_LIMIT)


def prune_history(*, transactions: Transactions, keep: Retention) -> Pruned:
    """Remove old jobs, attempts, events and ticks, a bounded batch per transaction, until little is left to remove."""
    total = Pruned()
    for _ in range(ROUNDS_PER_RUN):
        with transactions() as unit:
            pruned = unit.sweeping.prune(keep, ROUND_LIMIT)
        total += pruned
        if pruned.most < ROUND_LIMIT:
            break
    return total


def index_vectors(*, transactions: Transactions, seconds: float = INDEX_SECONDS) -> int:
    """Let vectors of new chunks enter the index, batch by batch, when no document is waiting for the machine."""
    deadline, total = monotonic() + seconds, 0
    while monotonic() < deadline:
        with transactions() as unit:
            count = unit.sweeping.index_vectors(limit=INDEX_BATCH, spare=MOST_WAITING_VECTORS)
        total += count
        if count < INDEX_BATCH:
            break
    return total


def sweep_blobs(*, transactions: Transactions, blobs: BlobStore) -> int:
    """Delete blobs that no document owns; return how many. A crash half-way leaves them noted for the next run.

    One that cannot be deleted ends the run and is not the next one's first: it may never be deletable. Raises
    TransientError.
    """
    with transactions() as unit:
        keys = unit.blobs.find_due(ROUND_LIMIT)
    for key in keys:
        try:
            blobs.delete(key)
        except TransientError:
            with transactions() as unit:
                unit.blobs.disown(key, after=BLOB_PAUSE)
            raise
        with transactions() as unit:
            unit.blobs.own(key)
    return len(keys)
