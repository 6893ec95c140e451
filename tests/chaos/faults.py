"""Every fault, in the order of the table. Importing a module registers its faults."""

from tests.chaos import database_faults, doorbell_faults, process_faults  # noqa: F401
from tests.chaos.fault import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
