"""Rails: jobs that do nothing. How many a second, how soon on an idle system, and what sending one costs."""

import random
import time
from collections import defaultdict
from contextlib import closing
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.bench import Bench, Figure, ours_first
from benchmarks.contenders import Contender
from benchmarks.figures import paired, percentile, summary
from benchmarks.running import Running, running, working

#: In the order of their turns: those whose ratio is closest to what is asked run beside each other in every round.
CONTENDERS = ("procrastinate", "arq", "rq", "headrace", "dramatiq", "celery", "rq_preloaded", "bullmq")
WARM_UPS = 64
SLOW_WARM_UPS = 8
PAUSE_SECONDS = (0.2, 1.2)
RATIOS = ("dramatiq", "celery", "arq", "procrastinate", "bullmq")


def rails(bench: Bench) -> Figure:
    """Compare everybody, taking turns."""
    found: dict[str, list[Figure]] = defaultdict(list)
    for number, contender in bench.turns(bench.present(*CONTENDERS)):
        figures = bench.attempt(contender.label, lambda who=contender: one_round(bench, who))
        if figures:
            found[contender.name].append(figures)
            bench.say(f"rails round {number + 1}: {contender.label}: {_line(figures)}")
    rates = {name: [figures["jobs_per_second"] for figures in rounds] for name, rounds in found.items()}
    best_rq = max(("rq", "rq_preloaded"), key=lambda name: summary(rates[name])["p50"] if rates.get(name) else 0.0)
    contenders = {name: gather(found[name]) if found.get(name) else None for name in ours_first(CONTENDERS)}
    ours = contenders["headrace"]
    return {
        "unit": "jobs/s",
        "better": "higher",
        "contenders": contenders,
        "ratios": {
            **{f"rails_vs_{name}": paired(rates.get("headrace"), rates.get(name)) for name in RATIOS},
            "rails_vs_rq": paired(rates.get("headrace"), rates.get(best_rq)),
            "pickup_p95_ms": ours["pickup_ms"]["p95"] if ours else None,
            "send_p99_ms": ours["send_ms"]["p99"] if ours else None,
            "send_vs_insert": ours["send_ms"]["p50"] / ours["insert_ms"]["p50"] if ours else None,
        },
    }


def one_round(bench: Bench, contender: Contender) -> Figure:
    """Measure one contender: a burst with workers running, single jobs, then a backlog that workers find."""
    sizes, count = bench.sizes, contender.noops(bench.sizes)
    with (
        bench.servers.database() as url,
        running(
            contender, bench.servers, url, kind="rails", patience_seconds=sizes.patience_seconds, workers=False
        ) as run,
    ):
        with working(run, "rails"):
            warm_up(run)
            burst = send_and_finish(run, count)
            pickups = pick_up(run, max(5, sizes.pickups // sizes.rounds))
        sends, drained = backlog(run, count)
        inserts = insert_rows(url, count)
    return {
        "jobs_per_second": burst,
        "drained_per_second": drained,
        "pickups": pickups,
        "sends": sends,
        "inserts": inserts,
    }


def warm_up(run: Running) -> None:
    """Wait until workers run jobs."""
    run.send_noops(SLOW_WARM_UPS if run.contender.slow else WARM_UPS)
    run.wait_for_noops(run.sent_noops)


def send_and_finish(run: Running, count: int) -> float:
    """Send jobs as fast as one producer can; return jobs a second until the last has finished."""
    began = run.send_noops(count)["began"]
    run.wait_for_noops(run.sent_noops)
    return count / ((time.monotonic_ns() - began) / 1e9)


def pick_up(run: Running, count: int) -> list[float]:
    """Send one job at a time to an idle system; return the seconds until each ran."""
    pauses, waits = random.Random(count), []
    for _ in range(count):
        time.sleep(pauses.uniform(*PAUSE_SECONDS))
        sent = run.send_noops(1)
        ran_at = run.wait_for_noops(run.sent_noops)[sent["first"]]
        waits.append((ran_at - sent["began"]) / 1e9)
    return waits


def backlog(run: Running, count: int) -> tuple[list[float], float]:
    """Send without workers, then start them; return the seconds of each call, and jobs a second from first to last."""
    sent = run.send_noops(count)
    with working(run, "rails"):
        marks = run.wait_for_noops(run.sent_noops)
    times = sorted(at for number, at in marks.items() if number >= sent["first"])
    return sent["seconds"], (len(times) - 1) / ((times[-1] - times[0]) / 1e9)


def insert_rows(url: str, count: int) -> list[float]:
    """Write rows of a job's size, one transaction each, as a send does at least; return the seconds of each."""
    seconds, message = [], Jsonb({"actor_name": "noop", "args": [1], "kwargs": {}, "options": {}})
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE bare_jobs (id uuid PRIMARY KEY, message jsonb NOT NULL)")
        for _ in range(count):
            began = time.perf_counter()
            connection.execute("INSERT INTO bare_jobs VALUES (%s, %s)", [uuid4(), message])
            seconds.append(time.perf_counter() - began)
    return seconds


def gather(rounds: list[Figure]) -> Figure:
    """Put the rounds of a contender together."""
    pickups = [value * 1e3 for figures in rounds for value in figures["pickups"]]
    sends = [value * 1e3 for figures in rounds for value in figures["sends"]]
    inserts = [value * 1e3 for figures in rounds for value in figures["inserts"]]
    rates = [round(figures["jobs_per_second"], 1) for figures in rounds]
    drained = [figures["drained_per_second"] for figures in rounds]
    return {
        "rounds": rates,
        "median": summary(rates)["p50"],
        "drained_per_second": round(summary(drained)["p50"], 1),
        "pickup_ms": {name: round(value, 2) for name, value in summary(pickups).items()},
        "send_ms": {"p50": round(summary(sends)["p50"], 3), "p99": round(percentile(sends, 0.99), 3)},
        "insert_ms": {"p50": round(summary(inserts)["p50"], 3), "p99": round(percentile(inserts, 0.99), 3)},
    }


def _line(figures: Figure) -> str:
    return (
        f"{figures['jobs_per_second']:.0f} jobs/s sent and finished, {figures['drained_per_second']:.0f} drained, "
        f"pickup {summary(figures['pickups'])['p50'] * 1e3:.1f} ms, "
        f"send {summary(figures['sends'])['p50'] * 1e3:.2f} ms"
    )
