"""The result of a run: a row of the table, an object of chaos-report.json, a line of docs/reliability.md."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"

#: What the report holds of every fault, in this order.
FIELDS = (
    "fault",
    "documents",
    "other_jobs",
    "lost",
    "doubled",
    "nonterminal",
    "unsettled",
    "reembedded_tokens",
    "mails_twice",
    "recovery_p50_seconds",
    "recovery_p99_seconds",
    "recovery_max_seconds",
)
HEADINGS = (
    "fault",
    "documents",
    "other jobs",
    "lost",
    "doubled",
    "unfinished jobs",
    "unsettled",
    "tokens paid twice",
    "mails sent twice",
    "recovery p50",
    "p99",
    "max",
)


@dataclass
class Result:
    """How one fault went. `broken`: a sentence for every rule that does not hold; `skipped`: why it did not run."""

    fault: str
    documents: int
    other_jobs: int = 0
    lost: int = 0
    doubled: int = 0
    nonterminal: int = 0
    unsettled: int = 0
    reembedded_tokens: int = 0
    mails_twice: int = 0
    recovery_p50_seconds: float = 0.0
    recovery_p99_seconds: float = 0.0
    recovery_max_seconds: float = 0.0
    allowed_tokens: int = 0
    affected: int = 0
    rescued: int = 0
    orphans: int = 0
    seconds: float = 0.0
    skipped: str = ""
    broken: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """Say it in one line."""
        if self.skipped:
            return f"{self.fault}: skipped, {self.skipped}"
        verdict = "BROKEN" if self.broken else "ok"
        return (
            f"{self.fault}: {verdict} in {self.seconds:.0f} s; {self.documents} documents, "
            f"{self.other_jobs} other jobs, "
            f"{self.affected} jobs in flight, {self.rescued} rescued, recovery p99 {self.recovery_p99_seconds:.1f} s"
        )


def write_json(results: Sequence[Result], path: Path) -> None:
    rows = [{name: asdict(result)[name] for name in FIELDS} for result in results if not result.skipped]
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def table(results: Sequence[Result]) -> Table:
    drawn = Table(title="Chaos", title_justify="left")
    for number, heading in enumerate(HEADINGS):
        drawn.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
    for result in results:
        drawn.add_row(*_cells(result), style="bold red" if result.broken else "dim" if result.skipped else "")
    return drawn


def summary(results: Sequence[Result], seconds: float) -> str:
    """Say what was done and how it ended."""
    ran = [result for result in results if not result.skipped]
    broken = sum(bool(result.broken) for result in ran)
    documents, others = sum(result.documents for result in ran), sum(result.other_jobs for result in ran)
    load = f"{documents:,} documents, {others:,} other jobs"
    return f"{len(ran)} faults, {load}, {seconds / 60:.1f} minutes: {broken or 'no'} broken promises"


def write_docs(results: Sequence[Result], seconds: float) -> None:
    """Put table and summary between the markers of docs/reliability.md and, folded, of the README."""
    said, rows = f"{summary(results, seconds)}, {_machine()}.", _markdown(results)
    folded = f"<details>\n<summary>Every fault</summary>\n\n{rows}\n\n</details>"
    for name, section in {"docs/reliability.md": f"{rows}\n\n{said}", "README.md": f"{said}\n\n{folded}"}.items():
        page = ROOT / name
        head, rest = page.read_text(encoding="utf-8").split(BEGIN)
        tail = rest.split(END)[1]
        page.write_text(f"{head}{BEGIN}\n{section}\n{END}{tail}", encoding="utf-8")


def _machine() -> str:
    return f"on {len(os.sched_getaffinity(0))} cores"


def _markdown(results: Sequence[Result]) -> str:
    lines = [f"| {' | '.join(HEADINGS)} |", f"| --- |{' ---: |' * (len(HEADINGS) - 1)}"]
    lines += [f"| {' | '.join(_cells(result))} |" for result in results if not result.skipped]
    return "\n".join(lines)


def _cells(result: Result) -> list[str]:
    if result.skipped:
        return [result.fault, f"skipped: {result.skipped}", *[""] * (len(FIELDS) - 2)]
    values = [asdict(result)[name] for name in FIELDS]
    return [f"{value:.1f} s" if isinstance(value, float) else f"{value}" for value in values]
