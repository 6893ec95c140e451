"""Finish sentences that a dead process began."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from domain.ports import Reservations, Transactions
from domain.usage import Reservation

#: Rows handled in one round; the next tick goes on.
ROUND_LIMIT = 1000

#: Old enough that no transaction of an upload or of a hand-over can still be open.
STRANDED_AFTER = timedelta(seconds=60)


def cleanup_stale_reservations(*, reservations: Reservations) -> list[Reservation]:
    """Free reservations that expired or whose job has ended; return what was freed."""
    return reservations.free_stale(ROUND_LIMIT)


def sweep_documents(*, transactions: Transactions, stranded_after: timedelta = STRANDED_AFTER) -> Sequence[UUID]:
    """Give documents in flight whose job vanished a new one, which goes on where the old one stopped."""
    with transactions() as unit:
        return unit.intake.adopt_stranded(age=stranded_after, limit=ROUND_LIMIT)
