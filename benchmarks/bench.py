"""What every suite works with: sizes, servers, files, and a voice on the terminal."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, named
from benchmarks.figures import summary
from benchmarks.running import DidNotFinishError
from benchmarks.servers import Servers
from benchmarks.sizes import Sizes

Figure = dict[str, Any]


@dataclass
class Bench:
    """One run."""

    sizes: Sizes
    servers: Servers
    originals: Sequence[Path]
    folder: Path
    skipped: dict[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()

    def say(self, line: str) -> None:
        """Tell how far the run is."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stderr.flush()

    def fresh_folder(self, name: str) -> Path:
        """Make a folder for files of a suite."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def present(self, *names: str) -> list[Contender]:
        """Return the contenders that are installed; note the others."""
        found = []
        for contender in named(names):
            if self.only and contender.name not in self.only:
                continue
            if contender.missing:
                self.skipped[contender.name] = contender.missing
                self.say(f"skipped {contender.label}: {contender.missing}")
            else:
                found.append(contender)
        return found

    def turns(self, contenders: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
        """Let the contenders take turns, another one first each round."""
        for round_number in range(self.sizes.rounds):
            first = round_number % max(1, len(contenders))
            for contender in [*contenders[first:], *contenders[:first]]:
                yield round_number, contender

    def attempt(self, label: str, measure: Callable[[], Any]) -> Any:
        """Measure; a contender that does not finish has no figure, and the run goes on."""
        try:
            return measure()
        except (DidNotFinishError, OSError) as error:
            self.say(f"NO FIGURE {label}: {error}")
            return None


def ours_first(contenders: Sequence[str]) -> list[str]:
    """Return the contenders in the order in which they are shown, which is not that of their turns."""
    return sorted(contenders, key=lambda name: name != "headrace")


def by_rounds(contenders: Sequence[str], values: dict[str, list[float]]) -> dict[str, Figure | None]:
    """Return each contender's rounds and their median; null for one without any."""
    return {
        name: {"rounds": [round(value, 3) for value in values[name]], **_median(values[name])}
        if values.get(name)
        else None
        for name in ours_first(contenders)
    }


def _median(values: Sequence[float]) -> Figure:
    return {"median": round(summary(values)["p50"], 3)}
