"""Bar charts as SVG, drawn with strings: readable on white and on black, no library."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.contenders import ALL

WIDTH, LABELS, VALUES = 720, 190, 90
BAR, GAP, TOP = 20, 8, 44
OURS, THEIRS, INK = "#2f81b7", "#9aa5ad", "#6b7680"
LABEL_OF = {contender.name: contender.label for contender in ALL}

#: chart: (suite, title, where the value is in a contender's figures)
CHARTS = {
    "bulk_local": ("bulk_local", "Bulk, local embedder: pages a second", ("median",)),
    "bulk_remote": ("bulk_remote", "Bulk, remote embedder: pages a second", ("median",)),
    "idle": ("idle", "One ten-page PDF on an idle system: p95 until ready, ms (less is better)", ("p95",)),
    "rails": ("rails", "No-op jobs a second, sent and finished", ("median",)),
    "pickup": ("rails", "Pickup on an idle system: p95, ms (less is better)", ("pickup_ms", "p95")),
}


def draw_charts(results: Mapping[str, Any]) -> dict[str, str]:
    """Return every chart that there are figures for."""
    drawings = {}
    for name, (suite, title, place) in CHARTS.items():
        contenders = results["suites"].get(suite, {}).get("contenders", {})
        bars = [(who, value) for who, figures in contenders.items() if (value := _value(figures, place)) is not None]
        if bars:
            drawings[name] = draw_bars(title, bars)
    return drawings


def draw_bars(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Draw one bar a contender; ours stands out."""
    height = TOP + len(bars) * (BAR + GAP) + GAP
    most = max(value for _, value in bars) or 1.0
    rows = [_bar(number, who, value, value / most) for number, (who, value) in enumerate(bars)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n'
        f"<title>{escape(title)}</title>\n"
        f'<text x="8" y="24" font-size="15" font-weight="600">{escape(title)}</text>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _bar(number: int, who: str, value: float, share: float) -> str:
    top = TOP + number * (BAR + GAP)
    length = max(2.0, share * (WIDTH - LABELS - VALUES))
    colour = OURS if who == "headrace" else THEIRS
    weight = ' font-weight="600"' if who == "headrace" else ""
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return (
        f'<text x="{LABELS - 8}" y="{top + 15}" text-anchor="end"{weight}>{escape(LABEL_OF.get(who, who))}</text>'
        f'<rect x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="3" fill="{colour}"/>'
        f'<text x="{LABELS + length + 6:.1f}" y="{top + 15}"{weight}>{shown}</text>'
    )


def _value(figures: Mapping[str, Any] | None, place: Sequence[str]) -> float | None:
    found: Any = figures
    for name in place:
        found = found.get(name) if found else None
    return None if found is None else float(found)
