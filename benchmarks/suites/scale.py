"""Scale: what grows with the tables, the backlog, a document's length, and the number of documents; a start.

Headrace alone.
"""

from benchmarks.bench import Bench, Figure
from benchmarks.sizes import FULL
from benchmarks.suites.backlog import cleanup, dispatch
from benchmarks.suites.long_run import long_pdf, many_documents
from benchmarks.suites.page_cost import page_cost
from benchmarks.suites.start import start

PARTS = {
    "page_cost": (page_cost, "page_cost_1m_vs_10k_chunks", "chunks"),
    "dispatch": (dispatch, "dispatch_1m_vs_1k_pending", "pending"),
    "long_pdf": (long_pdf, "memory_5000_vs_100_pages", "long_pdf_pages"),
    "many_documents": (many_documents, "rss_10000_vs_500_documents", "documents_for_rss"),
}


def scale(bench: Bench) -> Figure:
    """Run every part; each compares a large case with a small one, large / small."""
    figures: Figure = {}
    for name, (part, _, _) in PARTS.items():
        figures[name] = bench.attempt(name, lambda part=part: part(bench))
        bench.say(f"scale, {name}: {figures[name]}")
    for name, part in (("cleanup", cleanup), ("start", start)):
        figures[name] = bench.attempt(name, lambda part=part: part(bench))
        bench.say(f"scale, {name}: {figures[name]}")
    return {
        "figures": figures,
        "ratios": {ratio: (figures[name] or {}).get("ratio") for name, (_, ratio, _) in PARTS.items()},
        "reduced": dict(_reductions(bench)),
    }


def _reductions(bench: Bench) -> list[tuple[str, str]]:
    """Name the sizes where they are not the ones in the ratio's name."""
    found = [(ratio, getattr(bench.sizes, size), getattr(FULL, size)) for _, ratio, size in PARTS.values()]
    return [(ratio, f"{now[1]:,} against {now[0]:,}") for ratio, now, meant in found if now != meant]
