"""Hurt real processes and servers, and prove that nothing is lost: `python -m tests.chaos --help`."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.chaos.faults import FAULTS, QUICK_FAULTS, Fault
from tests.chaos.harness import run_all
from tests.chaos.plan import FULL, QUICK
from tests.chaos.report import Result, summary, table, write_docs, write_json

console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def main() -> int:
    arguments = _parse()
    plan = QUICK if arguments.quick else FULL
    if arguments.documents:
        plan = replace(plan, documents=arguments.documents)
    faults = _chosen(arguments.fault or (QUICK_FAULTS if arguments.quick else None))
    began = time.monotonic()
    results = run_all(faults, plan, at_a_time=arguments.at_a_time, say=partial(_say, began), logs=arguments.logs)
    seconds = time.monotonic() - began
    write_json(results, arguments.report)
    if arguments.write_docs:
        write_docs(results, seconds)
    return _tell(results, seconds)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--fault", action="append", metavar="WORDS", help="only faults whose name has these words")
    parser.add_argument("--documents", type=int, metavar="N", help="documents per fault")
    parser.add_argument("--quick", action="store_true", help="seven faults, few documents, short leases")
    parser.add_argument("--at-a-time", type=int, default=2, metavar="N", help="faults that run side by side, apart")
    parser.add_argument("--report", type=Path, default=Path("chaos-report.json"), metavar="FILE")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the table into docs/reliability.md and README.md"
    )
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the logs of faults that break something")
    parser.add_argument("--list", action="store_true", help="name the faults and stop")
    arguments = parser.parse_args()
    if arguments.list:
        sys.exit("\n".join(FAULTS))
    return arguments


def _chosen(wanted: Sequence[str] | None) -> list[Fault]:
    chosen = [each for each in FAULTS.values() if not wanted or any(words in each.name for words in wanted)]
    return chosen or sys.exit(f"There is no such fault. There are:\n{chr(10).join(FAULTS)}")


def _say(began: float, line: str) -> None:
    console.print(f"{time.monotonic() - began:6.0f} s  {line}", soft_wrap=True)


def _tell(results: Sequence[Result], seconds: float) -> int:
    console.print(table(results))
    for result in results:
        for sentence in result.broken[:8]:
            console.print(f"BROKEN {result.fault}: {sentence}", style="bold red", soft_wrap=True)
    console.print(summary(results, seconds))
    return int(any(result.broken for result in results))


if __name__ == "__main__":
    sys.exit(main())
