"""Every fault, in the order of the table. Importing a module registers its faults."""

# ruff: noqa: F401, I001
from tests.chaos import process_faults
from tests.chaos import parser_faults
from tests.chaos import database_faults
from tests.chaos import doorbell_faults
from tests.chaos import embedding_faults
from tests.chaos import storage_faults
from tests.chaos import clock_faults
from tests.chaos import crash_faults
from tests.chaos import family_faults
from tests.chaos.fault import FAULTS, Fault

__all__ = ["FAULTS", "QUICK_FAULTS", "Fault"]

#: One of each kind, for every commit.
QUICK_FAULTS = (
    "kill -9 of a worker, three times",
    "PostgreSQL restart",
    "writes done, answers swallowed",
    "FLUSHALL, ten times",
    "sandbox segfaults on some files",
    "crash point after_embedding_before_storing",
    "every family: kill -9 of the worker until each is met",
)
