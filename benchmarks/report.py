"""Results as Markdown: the whole report, and the sections of README and docs that are generated from it."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import RATIOS, TARGETS, met

ROOT = Path(__file__).parents[1]
LATEST = Path(__file__).parent / "results" / "latest.json"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

TITLES = {
    "bulk_local": "Bulk, local embedder",
    "bulk_remote": "Bulk, remote embedder",
    "idle": "Idle: one ten-page PDF, time to ready",
    "rails": "Rails: jobs that do nothing",
    "scale": "Scale",
    "fairness": "Fairness",
}

#: What the README shows: one line a ratio, in words.
SENTENCES = {
    "bulk_vs_limit": "bulk, against a plain script with no queue, ledger or sandbox",
    "bulk_vs_tuned_limit": "the same with our reader of the model's files, and no vector index",
    "bulk_vs_celery": "bulk, against Celery",
    "bulk_vs_langchain_2": "bulk, against LangChain in two processes",
    "bulk_vs_langchain_1": "bulk, against LangChain as usually written",
    "bulk_vs_rq": "bulk, against RQ's default worker",
    "remote_vs_parse_limit": "bulk with a remote embedder, against parsing alone",
    "remote_limit_vs_parse_limit": "how near to parsing alone a plain script comes, with no queue, ledger or sandbox",
    "remote_vs_limit": "bulk with a remote embedder, against that plain script",
    "remote_vs_celery": "bulk with a remote embedder, against Celery",
    "idle_p95_vs_dramatiq": "time to ready on an idle system (p95), against stock Dramatiq",
    "idle_p95_vs_compute": "the same, against the bare computation",
    "rails_vs_dramatiq": "no-op jobs a second, against stock Dramatiq, which keeps no ledger",
    "rails_vs_celery": "no-op jobs a second, against Celery",
    "rails_vs_rq": "no-op jobs a second, against RQ (the faster of its workers)",
    "rails_vs_arq": "no-op jobs a second, against ARQ",
    "rails_vs_procrastinate": "no-op jobs a second, against Procrastinate",
    "rails_vs_bullmq": "no-op jobs a second, against BullMQ",
    "pickup_p95_ms": "pickup of a job on an idle system, p95, ms",
    "send_p99_ms": "`actor.send()`, durable when it returns, p99, ms",
    "send_vs_insert": "the same (p50), against an INSERT of one row by the same client",
    "memory_5000_vs_100_pages": "peak memory, a long PDF against one of 100 pages",
    "rss_10000_vs_500_documents": "memory of the workers after many documents, against after few",
    "page_cost_1m_vs_10k_chunks": "cost of a page, many chunks in the table against few",
    "dispatch_1m_vs_1k_pending": "cost of dispatch, many jobs waiting against few",
    "quiet_p95_extra_seconds": "extra wait (p95, s) of a quiet workspace while another floods the queue",
    "fair_vs_unfair_bulk": "throughput in fair order, against first come, first served",
}

README_HEAD = """\
Every contender in turn on the same machine, files, model and servers; ratios are medians over interleaved rounds (at
least {rounds}) on {cores} cores. `make bench` repeats it; method and limits: [docs/benchmarks.md](docs/benchmarks.md).
"""
README_CHART = "![Pages a second](benchmarks/results/latest-bulk_local.svg)\n"
QUICK_NOTE = "A quick run: it shows that the benchmark runs, not how fast anything is."


def full_report(results: Mapping[str, Any]) -> str:
    """Return everything as one page."""
    parts = [f"# Benchmarks, {results['mode']} run\n", provenance(results), "\n## Ratios\n", ratio_table(results)]
    for name, suite in results["suites"].items():
        parts += [f"\n## {TITLES[name]}\n", *suite_tables(suite)]
    return "\n".join(parts).rstrip() + "\n"


def provenance(results: Mapping[str, Any]) -> str:
    """Say where the figures come from, and what is missing."""
    machine, versions = results["machine"], results["versions"]
    known = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    lines = [
        f"Taken {results['taken_at']}, at least {results['rounds']} rounds, on {machine['cores']} cores of "
        f"{machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}.",
        f"Versions: {known}.",
        *([f"**Note: {results['note']}**"] if results["note"] else []),
        *(f"Skipped {name}: {reason}." for name, reason in sorted(results["skipped"].items())),
        *(f"Smaller than meant ({name}): {line}." for name, line in reductions(results)),
    ]
    return "\n\n".join(lines)


def reductions(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was measured at other sizes than a ratio's name says."""
    for suite in results["suites"].values():
        yield from suite.get("reduced", {}).items()


def ratio_table(results: Mapping[str, Any]) -> str:
    """Return the promised ratios, what is asked of them, and whether they are there."""
    rows = [
        (f"`{name}`", SENTENCES[name], _number(results["ratios"].get(name)), _target(name), _verdict(name, results))
        for name in RATIOS
    ]
    return markdown_table(["ratio", "what", "found", "asked", ""], rows)


def suite_tables(suite: Mapping[str, Any]) -> Iterator[str]:
    """Return a table of the contenders, or of the figures of a suite without any."""
    contenders = suite.get("contenders")
    if contenders:
        yield markdown_table(["", *_columns(contenders)], _contender_rows(contenders), right=True)
    if suite.get("figures"):
        yield markdown_table(["figure", "value"], _figure_rows(suite["figures"]), right=True)
    yield f"Unit: {suite['unit']}, {suite['better']} is better.\n" if suite.get("unit") else ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    """Return a table."""
    line = ["---", *["---:" if right else "---"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, line, *rows]) + "\n"


def readme_section(results: Mapping[str, Any]) -> str:
    """Return the README's section: each ratio in words, and where the rest is."""
    rows = [(SENTENCES[name], _number(results["ratios"].get(name)), _target(name)) for name in RATIOS]
    notes = [results["note"]] if results["note"] else []
    notes += [QUICK_NOTE] if results["mode"] == "quick" else []
    head = README_HEAD.format(rounds=results["rounds"], cores=results["machine"]["cores"])
    table = markdown_table(["Headrace's", "found", "asked"], rows, right=True)
    return "\n".join([head, *(f"**{note}**\n" for note in notes), table, README_CHART])


def replace_section(text: str, section: str) -> str:
    """Put a section between the markers, each on a line of its own. Raises ValueError when there are none."""
    between = re.compile(f"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$", re.DOTALL | re.MULTILINE)
    if not between.search(text):
        raise ValueError(f"no {BEGIN} ... {END}")
    return between.sub(lambda _: f"{BEGIN}\n{section.strip()}\n{END}", text, count=1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated sections of README.md and docs/benchmarks.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a section is out of date")
    check = parser.parse_args().check
    results = json.loads(LATEST.read_text())
    sections = {"README.md": readme_section(results), "docs/benchmarks.md": full_report(results).replace("# ", "## ")}
    stale = [name for name, section in sections.items() if write_section(ROOT / name, section, check=check)]
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python -m benchmarks.report")
    return 0


def write_section(path: Path, section: str, *, check: bool) -> bool:
    """Bring a file up to date unless only asked; True when it was not. A file without markers is left alone."""
    text = path.read_text()
    if BEGIN not in text:
        return False
    new = replace_section(text, section)
    if new != text and not check:
        path.write_text(new)
    return new != text


def _columns(contenders: Mapping[str, Any]) -> list[str]:
    found: dict[str, None] = {}
    for figures in contenders.values():
        found |= dict.fromkeys(name for name, _ in _flat(figures or {}))
    return list(found)


def _contender_rows(contenders: Mapping[str, Any]) -> list[list[str]]:
    columns = _columns(contenders)
    rows = []
    for name, figures in contenders.items():
        cells = dict(_flat(figures or {}))
        rows.append([name, *(_number(cells.get(column)) for column in columns)])
    return rows


def _figure_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _number(value)) for name, value in _flat(figures)]


def _flat(figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from ((f"{name} {inner}", each) for inner, each in _flat(value))
        elif not isinstance(value, (list, tuple)):
            yield name, value


def _number(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, (int, str)):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _target(name: str) -> str:
    return " ".join(map(str, TARGETS[name])) if name in TARGETS else ""


def _verdict(name: str, results: Mapping[str, Any]) -> str:
    return {True: "met", False: "**missed**", None: ""}[met(name, results["ratios"].get(name))]


if __name__ == "__main__":
    sys.exit(main())
