"""Bulk: many pages at once, from the first upload to the last document that can be searched."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.bench import Bench, Figure, by_rounds
from benchmarks.contenders import Contender
from benchmarks.figures import paired
from benchmarks.files import File, copy_of, multiply
from benchmarks.remote import remote_embedder
from benchmarks.running import Running, running
from benchmarks.sizes import PROCESSES, SECONDS_PER_REQUEST, SECONDS_PER_TOKEN, THREADS

#: In the order of their turns: whom Headrace is most closely compared with stands beside it in every round, where the
#: machine is in the same mood; the slowest, which takes minutes, comes last.
LOCAL = (
    "bare_unindexed", "bare_tuned", "bare", "headrace", "langchain_2", "langchain_1", "celery", "rq_preloaded", "rq",
)  # fmt: skip
REMOTE = ("celery", "bare_remote", "headrace", "parser")

#: Warm-ups: enough that every process has had some; over a remote embedder there are more threads than warm-ups.
WARM_UPS = 2 * PROCESSES
WARM_UP_SECONDS = 90.0


def bulk_local(bench: Bench) -> Figure:
    """Compare everybody over the embedder inside the process."""
    rates, files = measure(bench, LOCAL, "bulk-local", "")
    pairs = {
        "bulk_vs_limit": "bare",
        "bulk_vs_tuned_limit": "bare_tuned",
        "bulk_vs_celery": "celery",
        "bulk_vs_langchain_2": "langchain_2",
        "bulk_vs_langchain_1": "langchain_1",
        "bulk_vs_rq": "rq",
    }
    return result(LOCAL, rates, files, pairs)


def bulk_remote(bench: Bench) -> Figure:
    """Compare over an embedder that has to be waited for."""
    with remote_embedder(SECONDS_PER_REQUEST, SECONDS_PER_TOKEN) as url:
        rates, files = measure(bench, REMOTE, "bulk-remote", url)
    pairs = {"remote_vs_parse_limit": "parser", "remote_vs_limit": "bare_remote", "remote_vs_celery": "celery"}
    found = result(REMOTE, rates, files, pairs)
    found["ratios"]["remote_limit_vs_parse_limit"] = paired(rates.get("bare_remote"), rates.get("parser"))
    return found


def measure(
    bench: Bench, names: Sequence[str], label: str, embeddings_url: str
) -> tuple[dict[str, list[float]], list[File]]:
    """Return pages a second, round by round."""
    files = multiply(bench.originals, bench.sizes.bulk_pages, bench.fresh_folder(label))
    rates: dict[str, list[float]] = defaultdict(list)
    for number, contender in bench.turns(bench.present(*names)):
        rate = bench.attempt(contender.label, lambda who=contender: one_round(bench, who, files, embeddings_url))
        if rate is not None:
            rates[contender.name].append(rate)
            bench.say(f"{label} round {number + 1}: {contender.label}: {rate:.0f} pages/s")
    return rates, files


def one_round(bench: Bench, contender: Contender, files: Sequence[File], embeddings_url: str) -> float:
    """Let one contender do all files once."""
    with warm(bench, contender, embeddings_url) as run:
        already = run.ready()
        began = run.send_document(files[0].path, files[0].workspace)["began"]
        for file in files[1:]:
            run.send_document(file.path, file.workspace)
        ended = run.wait_until_ready(already + len(files), look_seconds=0.02)
        return sum(file.pages for file in files) / ((ended - began) / 1e9)


@contextmanager
def warm(bench: Bench, contender: Contender, embeddings_url: str = "") -> Iterator[Running]:
    """Start a contender over an empty database, and let it do a few documents first."""
    sizes = bench.sizes
    with (
        bench.servers.database() as url,
        running(
            contender,
            bench.servers,
            url,
            kind="documents",
            patience_seconds=sizes.patience_seconds,
            embeddings_url=embeddings_url,
        ) as run,
    ):
        warm_up(run, bench)
        yield run


def warm_up(run: Running, bench: Bench) -> None:
    """Let every process load what it needs; into a workspace that nothing else uses."""
    smallest = min(bench.originals, key=lambda path: path.stat().st_size)
    already, count = run.ready(), WARM_UPS * (THREADS if run.contender.name == "headrace" else 1)
    for number in range(count):
        run.send_document(copy_of(smallest, number, run.folder), 63)
    run.wait_until_ready(already + count, look_seconds=0.02, patience=WARM_UP_SECONDS)


def result(names: Sequence[str], rates: dict[str, list[float]], files: Sequence[File], pairs: dict[str, str]) -> Figure:
    """Put rates and ratios together."""
    return {
        "unit": "pages/s",
        "better": "higher",
        "pages": sum(file.pages for file in files),
        "documents": len(files),
        "contenders": by_rounds(names, rates),
        "ratios": {name: paired(rates.get("headrace"), rates.get(other)) for name, other in pairs.items()},
    }
