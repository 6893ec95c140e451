"""Fairness: one workspace floods the queue, another uploads a document now and then. Headrace alone."""

import time
from collections.abc import Sequence

from benchmarks.bench import Bench, Figure, by_rounds
from benchmarks.contenders import named
from benchmarks.figures import paired, summary
from benchmarks.files import File, small_files
from benchmarks.running import Running
from benchmarks.suites.bulk import warm
from benchmarks.suites.idle import time_to_ready

FLOODING, QUIET = 1, 2
#: In which workspace the quiet documents are: in the flood's own the order is first come, first served.
ORDERS = {"fair": QUIET, "unfair": FLOODING}
LEAST_QUIET, IDLE_SAMPLES = 3, 8
IDLE_PAUSE_SECONDS = 0.7

QUIET_READY = "SELECT state = 'ready' FROM documents WHERE name = %s"


def fairness(bench: Bench) -> Figure:
    """Compare the quiet workspace's wait during the flood with an idle system's; and the flood with one of its own."""
    folder = bench.fresh_folder("fairness")
    files = list(small_files(bench.sizes.flood + 200, folder / "files"))
    flood, quiet = files[: bench.sizes.flood], files[bench.sizes.flood :]
    idle_waits = _alone(bench, quiet)
    rates: dict[str, list[float]] = {order: [] for order in ORDERS}
    waits: dict[str, list[float]] = {order: [] for order in ORDERS}
    for number in range(bench.sizes.rounds):
        for order in list(ORDERS)[:: -1 if number % 2 else 1]:
            rate, seconds = _flooded(bench, flood, quiet, ORDERS[order])
            rates[order].append(rate)
            waits[order] += seconds
            bench.say(f"fairness round {number + 1}: {order}: {rate:.1f} documents/s, quiet waits {_ms(seconds)} ms")
    figures = {
        "idle_ms": _in_milliseconds(idle_waits),
        **{f"{order}_ms": _in_milliseconds(waits[order]) for order in ORDERS},
        "documents_per_second": by_rounds(list(ORDERS), rates),
    }
    extra = (figures["fair_ms"]["p95"] - figures["idle_ms"]["p95"]) / 1e3
    reduced = {} if bench.sizes.mode == "full" else {"quiet_p95_extra_seconds": f"a flood of {len(flood)} documents"}
    return {
        "figures": figures,
        "ratios": {"quiet_p95_extra_seconds": extra, "fair_vs_unfair_bulk": paired(rates["fair"], rates["unfair"])},
        "reduced": reduced,
    }


def _alone(bench: Bench, quiet: Sequence[File]) -> list[float]:
    with warm(bench, named(["headrace"])[0]) as run:
        return [
            time_to_ready(run, file.path, number, IDLE_PAUSE_SECONDS)
            for number, file in enumerate(quiet[:IDLE_SAMPLES])
        ]


def _flooded(
    bench: Bench, flood: Sequence[File], quiet: Sequence[File], quiet_workspace: int
) -> tuple[float, list[float]]:
    """Upload the flood, then one quiet document every few seconds until it is done.

    Returns the flood's documents a second and the quiet waits. In the flood's own workspace the quiet documents stand
    at the end of its line: the order of first come, first served.
    """
    with warm(bench, named(["headrace"])[0]) as run:
        already = run.ready()
        began = run.send_document(flood[0].path, FLOODING)["began"]
        for file in flood[1:]:
            run.send_document(file.path, FLOODING)
        waiting, sent = _Waiting(run), 0
        send_at = time.monotonic()
        while run.ready() < already + len(flood) + sent or sent < LEAST_QUIET:
            if time.monotonic() >= send_at and sent < len(quiet) and _goes_on(run, already, flood, sent):
                waiting.send(quiet[sent].path, quiet_workspace)
                sent, send_at = sent + 1, time.monotonic() + bench.sizes.quiet_every_seconds
            waiting.look()
            run.wait(lambda: True)
            time.sleep(0.02)
        ended = time.monotonic_ns()
        waiting.look()
        return (len(flood) + sent) / ((ended - began) / 1e9), waiting.seconds


def _goes_on(run: Running, already: int, flood: Sequence[File], sent: int) -> bool:
    """Tell whether the flood still has a good part before it; the first few are sent in any case."""
    return sent < LEAST_QUIET or run.ready() < already + 0.9 * len(flood)


class _Waiting:
    """The quiet documents that are not ready yet."""

    def __init__(self, run: Running) -> None:
        self._run = run
        self._began: dict[str, int] = {}
        self.seconds: list[float] = []

    def send(self, path: object, workspace: int) -> None:
        """Upload one."""
        name = getattr(path, "name", "")
        self._began[name] = self._run.send_document(path, workspace)["began"]  # type: ignore[arg-type]

    def look(self) -> None:
        """Note those that have arrived."""
        for name, began in list(self._began.items()):
            row = self._run.watcher.execute(QUIET_READY, [name]).fetchone()
            if row and row[0]:
                self.seconds.append((time.monotonic_ns() - began) / 1e9)
                del self._began[name]


def _in_milliseconds(seconds: Sequence[float]) -> Figure:
    return {name: round(value * (1 if name == "samples" else 1e3), 1) for name, value in summary(seconds).items()}


def _ms(seconds: Sequence[float]) -> str:
    return f"{summary(seconds)['p50'] * 1e3:.0f}/{summary(seconds)['p95'] * 1e3:.0f}"
