"""Measure Headrace against its peers: `python -m benchmarks [--quick] [--only SUITE ...] [--rounds N]`.

Everything runs on this machine and loopback, in temporary folders, and is stopped at the end. The full run takes about
two hours on two cores, the quick one some minutes; the quick one's figures show that everything runs, no more.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, Figure
from benchmarks.files import good_files
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.results import RESULTS, Results, write_all
from benchmarks.servers import Servers, running_servers
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.suites.bulk import bulk_local, bulk_remote
from benchmarks.suites.fairness import fairness
from benchmarks.suites.idle import idle
from benchmarks.suites.rails import rails
from benchmarks.suites.scale import scale

SUITES: Mapping[str, Callable[[Bench], Figure]] = {
    "bulk_local": bulk_local,
    "bulk_remote": bulk_remote,
    "idle": idle,
    "rails": rails,
    "scale": scale,
    "fairness": fairness,
}


def main() -> int:
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that everything is stopped and removed
    arguments = parse()
    sizes = replace(QUICK if arguments.quick else FULL, **({"rounds": arguments.rounds} if arguments.rounds else {}))
    results = Results.start(sizes, describe_machine(), note=arguments.note)
    with running_servers() as servers:
        results.versions = describe_versions(servers.versions)
        bench = make_bench(sizes, servers, arguments)
        for name in arguments.only or SUITES:
            run_suite(name, bench, results)
            write_all(results.merged_into(arguments.output), arguments.output)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, a file of its own")
    parser.add_argument("--only", nargs="+", choices=SUITES, metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--contenders", nargs="+", default=(), metavar="NAME", help="only these (for trying out)")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison")
    parser.add_argument("--corpus", type=Path, default=os.environ.get("CORPUS_DIR"), help="a folder of good PDFs")
    parser.add_argument("--output", type=Path, help="where the results go")
    parser.add_argument("--note", default="", help="what a reader must know of this run")
    arguments = parser.parse_args()
    arguments.output = arguments.output or RESULTS / ("quick.json" if arguments.quick else "latest.json")
    arguments.corpus = Path(arguments.corpus) if arguments.corpus else None
    return arguments


def make_bench(sizes: Sizes, servers: Servers, arguments: argparse.Namespace) -> Bench:
    folder = servers.folder / "files"
    folder.mkdir()
    return Bench(sizes, servers, good_files(arguments.corpus, folder), folder, only=arguments.contenders)


def run_suite(name: str, bench: Bench, results: Results) -> None:
    began = time.monotonic()
    bench.say(f"{name} begins")
    suite = SUITES[name](bench)
    results.add(name, suite, seconds=time.monotonic() - began, skipped=bench.skipped)
    bench.say(f"{name} took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
