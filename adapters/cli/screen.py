"""What people and scripts read: data on standard output, messages on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: A pipe has no width: every row stays on its line, for grep and cut.
PIPE_COLUMNS = 10_000
#: Running text is read most easily in lines of this length.
TEXT_COLUMNS = 100

#: Columns of words and names, which may take several lines; ids and numbers stay whole, for copying.
FOLDING = frozenset({"file", "name", "note", "sentence", "error", "url", "events", "found", "what to do"})

#: Colours of the states of documents and jobs, and of doctor's verdicts.
STYLES = {
    "ready": "green",
    "succeeded": "green",
    "delivered": "green",
    "ok": "green",
    "failed": "red",
    "fail": "bold red",
    "warn": "yellow",
    "retrying": "yellow",
    "failing": "yellow",
    "deleted": "dim",
    "cancelled": "dim",
    "disabled": "dim",
    "discarded": "dim",
}


@cache
def out() -> Console:
    """Return the console for data. Rich drops colours for pipes and when NO_COLOR is set."""
    return _console(sys.stdout.isatty(), stderr=False)


@cache
def messages() -> Console:
    """Return the console for everything that is not data."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(is_terminal: bool, *, stderr: bool) -> Console:
    width = None if is_terminal else PIPE_COLUMNS
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """Tell the person something."""
    messages().print(text, style=style or None)


def put_json(value: object) -> None:
    """Write one JSON value on a line of its own. Non-ASCII text stays readable."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def state(name: str) -> Text:
    """Return a state's name in its colour."""
    return Text(name, style=STYLES.get(name, "cyan"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """Lay rows out under headings; `right`: the headings whose columns hold numbers. None shows as nothing."""
    result = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    numbers = set(right)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        result.add_column(column, justify=justify, no_wrap=column not in FOLDING, overflow="fold")
    for row in rows:
        result.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    return result


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """Lay names and values out side by side."""
    result = Table.grid(padding=(0, 2))
    result.add_column(style="bold", no_wrap=True)
    result.add_column(overflow="fold")
    for name, value in rows:
        if value not in (None, ""):
            result.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return result


def seconds(value: float | None) -> str:
    """Write a duration as people say it."""
    if value is None:
        return ""
    if value >= 90:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def size(byte_count: int) -> str:
    """Write a number of bytes as people say it."""
    amount = float(byte_count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
