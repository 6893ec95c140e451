"""Run as `dramatiq actors tests.chaos.sabotage`: the parser's child does what a file's mark tells it to."""

from functools import partial

from adapters import bootstrap
from tests.chaos.sick_parser import main

bootstrap.SandboxedPageReader = partial(bootstrap.SandboxedPageReader, target=main)  # type: ignore[attr-defined,assignment]
