"""Idle: one ten-page PDF on a system with nothing else to do, from the start of the upload until it can be searched."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench, Figure
from benchmarks.contenders import Contender
from benchmarks.figures import summary
from benchmarks.files import copy_of, ten_pages
from benchmarks.running import Running
from benchmarks.suites.bulk import warm

CONTENDERS = ("headrace", "bare", "dramatiq", "celery", "rq", "rq_preloaded", "arq")
BLOCKS = 5

#: Pauses of changing length, so that no poller's rhythm fits.
PAUSE_SECONDS = (0.4, 1.4)


def idle(bench: Bench) -> Figure:
    """Take turns in blocks, so that each contender is measured at several times of the run."""
    folder = bench.fresh_folder("idle")
    document = ten_pages(bench.originals, folder)
    blocks = min(BLOCKS, bench.sizes.rounds + 2, bench.sizes.idle_samples)
    waits: dict[str, list[float]] = defaultdict(list)
    contenders = bench.present(*CONTENDERS)
    for block in range(blocks):
        for contender in contenders:
            count = bench.sizes.idle_samples // blocks
            found = bench.attempt(contender.label, sampling(bench, contender, document, count, block))
            waits[contender.name] += found or []
        bench.say(f"idle, block {block + 1} of {blocks}: " + _line(waits))
    figures = {name: _milliseconds(waits[name]) if waits.get(name) else None for name in CONTENDERS}
    return {
        "unit": "ms",
        "better": "lower",
        "pages": 10,
        "contenders": figures,
        "ratios": {
            "idle_p95_vs_dramatiq": _ratio(figures, "dramatiq"),
            "idle_p95_vs_compute": _ratio(figures, "bare"),
        },
    }


def sampling(bench: Bench, contender: Contender, document: Path, count: int, block: int) -> Callable[[], list[float]]:
    """Bind one block, to be attempted."""
    return lambda: sample(bench, contender, document, count, block)


def sample(bench: Bench, contender: Contender, document: Path, count: int, block: int) -> list[float]:
    """Upload one after another, each when the last one is long done."""
    pauses = random.Random(block)
    with warm(bench, contender) as run:
        return [time_to_ready(run, document, number, pauses.uniform(*PAUSE_SECONDS)) for number in range(count)]


def time_to_ready(run: Running, document: Path, number: int, pause: float) -> float:
    """Wait, upload a copy into a workspace of its own, and return the seconds until it can be searched."""
    path, already = copy_of(document, number, run.folder), run.ready()
    time.sleep(pause)
    began = run.send_document(path, number % 60)["began"]
    return (run.wait_until_ready(already + 1) - began) / 1e9


def _milliseconds(seconds: list[float]) -> Figure:
    return {name: round(value * (1 if name == "samples" else 1e3), 1) for name, value in summary(seconds).items()}


def _ratio(figures: dict[str, Figure | None], other: str) -> float | None:
    ours, theirs = figures["headrace"], figures[other]
    return ours["p95"] / theirs["p95"] if ours and theirs else None


def _line(waits: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {summary(values)['p50'] * 1e3:.0f}" for name, values in waits.items() if values) + " ms"
