"""Medians, percentiles, and the ratios that the project promises, by their names."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

#: ratio: (suite, contender or figure, figure to compare with). A suite's `pairs` are ratios taken round by round.
RATIOS = (
    "bulk_vs_limit",
    "bulk_vs_tuned_limit",
    "bulk_vs_celery",
    "bulk_vs_langchain_2",
    "bulk_vs_langchain_1",
    "bulk_vs_rq",
    "remote_vs_parse_limit",
    "remote_limit_vs_parse_limit",
    "remote_vs_limit",
    "remote_vs_celery",
    "idle_p95_vs_dramatiq",
    "idle_p95_vs_compute",
    "rails_vs_dramatiq",
    "rails_vs_celery",
    "rails_vs_rq",
    "rails_vs_arq",
    "rails_vs_procrastinate",
    "rails_vs_bullmq",
    "pickup_p95_ms",
    "send_p99_ms",
    "send_vs_insert",
    "memory_5000_vs_100_pages",
    "rss_10000_vs_500_documents",
    "page_cost_1m_vs_10k_chunks",
    "dispatch_1m_vs_1k_pending",
    "quiet_p95_extra_seconds",
    "fair_vs_unfair_bulk",
)

#: What each ratio is meant to be.
TARGETS: dict[str, tuple[str, float]] = {
    "bulk_vs_limit": (">=", 0.9),
    "bulk_vs_celery": (">=", 1.0),
    "bulk_vs_langchain_2": (">=", 1.5),
    "bulk_vs_langchain_1": (">=", 3.0),
    "bulk_vs_rq": (">=", 8.0),
    "remote_vs_parse_limit": (">=", 0.8),
    "remote_vs_celery": (">=", 3.0),
    "idle_p95_vs_dramatiq": ("<=", 0.35),
    "idle_p95_vs_compute": ("<=", 2.0),
    "rails_vs_dramatiq": (">=", 0.5),
    "rails_vs_celery": (">=", 1.0),
    "rails_vs_rq": (">=", 1.0),
    "rails_vs_arq": (">=", 1.0),
    "rails_vs_procrastinate": (">=", 1.0),
    "pickup_p95_ms": ("<=", 10.0),
    "send_p99_ms": ("<=", 10.0),
    "memory_5000_vs_100_pages": ("<=", 1.3),
    "rss_10000_vs_500_documents": ("<=", 1.1),
    "page_cost_1m_vs_10k_chunks": ("<=", 1.3),
    "dispatch_1m_vs_1k_pending": ("<=", 1.5),
    "quiet_p95_extra_seconds": ("<=", 1.0),
    "fair_vs_unfair_bulk": (">=", 0.95),
}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[rank - 1]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Sum up samples: median, p95, how many."""
    return {"p50": statistics.median(values), "p95": percentile(values, 0.95), "samples": len(values)}


def paired(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> float | None:
    """Return the median of the ratios round by round: rounds are neighbours in time, so the machine's moods cancel."""
    if not ours or not theirs:
        return None
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False) if b)


def met(name: str, value: float | None) -> bool | None:
    """Tell whether a ratio is where it should be; None when it was not measured or nothing is asked of it."""
    if value is None or name not in TARGETS:
        return None
    direction, bound = TARGETS[name]
    return value >= bound if direction == ">=" else value <= bound


def ratios_of(suites: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Gather the ratios of all suites under their names; null where a suite did not run or a contender is missing."""
    found: dict[str, float | None] = dict.fromkeys(RATIOS)
    for suite in suites.values():
        for name, value in suite.get("ratios", {}).items():
            if name not in found:
                raise KeyError(f"{name} is no ratio that the project promises")
            found[name] = None if value is None else round(float(value), 4)
    return found
