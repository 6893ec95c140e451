"""Parsing and nothing else, two processes."""

from benchmarks.contenders.body import parse_only, warm_up
from benchmarks.contenders.in_processes import Script
from benchmarks.sizes import PROCESSES

send_document = Script(parse_only, warm_up, PROCESSES).send
