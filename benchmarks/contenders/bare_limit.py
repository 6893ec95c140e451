"""The bare limit, two processes."""

from benchmarks.contenders.body import ingest_with_copy, warm_up
from benchmarks.contenders.in_processes import Script
from benchmarks.sizes import PROCESSES

send_document = Script(ingest_with_copy, warm_up, PROCESSES).send
