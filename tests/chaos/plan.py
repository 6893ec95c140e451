"""How long and how large a run is. Everything else is the same in the full and in the short form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The defaults are the full form, with the leases that the product ships."""

    documents: int = 200
    lease_seconds: int = 20
    heartbeat_seconds: int = 5
    valkey_outage_seconds: float = 60
    exhausted_seconds: float = 10
    patience_seconds: float = 150
    #: Rounds of jobs of every family that are there when the fault strikes.
    rounds: int = 3

    @property
    def quick(self) -> bool:
        return self.lease_seconds < FULL.lease_seconds


FULL = Plan()
QUICK = Plan(
    documents=60, lease_seconds=6, heartbeat_seconds=2, valkey_outage_seconds=10, patience_seconds=60, rounds=1
)

#: Recovery of 99 % of the affected documents, after the fault's end.
RECOVERY_P99_SECONDS = 30.0

PROCESSES, THREADS = 2, 4
BATCH_TEXTS = 4
BATCHES_AT_A_TIME = 2
