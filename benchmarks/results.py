"""The results of a run: JSON first, then what is drawn and written from it."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.charts import draw_charts
from benchmarks.figures import ratios_of
from benchmarks.report import full_report
from benchmarks.sizes import Sizes

RESULTS = Path(__file__).with_name("results")
SCHEMA = 1


@dataclass
class Results:
    """What a run found, suite by suite."""

    schema: int
    mode: str
    rounds: int
    taken_at: str
    note: str
    machine: Mapping[str, Any]
    versions: Mapping[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ratios: dict[str, float | None] = field(default_factory=dict)
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def start(cls, sizes: Sizes, machine: Mapping[str, Any], *, note: str = "") -> "Results":
        """Begin with nothing measured."""
        return cls(SCHEMA, sizes.mode, sizes.rounds, _now(), note, machine, ratios=ratios_of({}))

    def add(self, name: str, suite: Mapping[str, Any], *, seconds: float, skipped: Mapping[str, str]) -> None:
        """Add what a suite found."""
        about = {"taken_at": _now(), "seconds": round(seconds), "rounds": self.rounds, "note": self.note}
        self.suites[name] = about | suite
        self.skipped |= skipped
        self.ratios = ratios_of(self.suites)

    def merged_into(self, path: Path) -> "Results":
        """Keep the suites of an earlier run of the same kind and versions that this one has not measured."""
        earlier = read(path)
        if earlier is None or (earlier.mode, earlier.machine.get("processor")) != (
            self.mode,
            self.machine["processor"],
        ):
            return self
        merged = Results(**asdict(self))
        merged.suites = earlier.suites | self.suites
        merged.rounds = min(suite.get("rounds", earlier.rounds) for suite in merged.suites.values())
        merged.skipped = earlier.skipped | self.skipped
        merged.ratios = ratios_of(merged.suites)
        return merged


def read(path: Path) -> Results | None:
    """Read results; None when there are none, or of another schema."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    return Results(**found) if found.get("schema") == SCHEMA else None


def write_all(results: Results, path: Path) -> None:
    """Write the JSON, the table and the charts; beside each other, under one name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = asdict(results)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".md").write_text(full_report(content))
    for name, drawing in draw_charts(content).items():
        path.with_name(f"{path.stem}-{name}.svg").write_text(drawing)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
