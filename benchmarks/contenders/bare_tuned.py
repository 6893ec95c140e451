"""The bare limit over Headrace's own reader of the model: what is left of a lead when its embedder is taken away."""

from benchmarks.contenders.body import ingest_with_copy, use_our_reader
from benchmarks.contenders.in_processes import Script
from benchmarks.sizes import PROCESSES

send_document = Script(ingest_with_copy, use_our_reader, PROCESSES).send
