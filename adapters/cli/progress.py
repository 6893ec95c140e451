"""Documents on their way, as a person watches them: a live table on a terminal, one line a change elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adapters.cli.reading import Reading, Row
from adapters.cli.screen import messages, say, state

LOOK_SECONDS = 0.1
#: After this long without any change, tell that no worker runs, if none does.
QUIET_SECONDS = 5.0
TERMINAL = frozenset({"ready", "failed", "deleted"})
MOST_LINES = 15
BAR_COLUMNS = 24

Show = Callable[[Mapping[UUID, Row]], None]


def watch(
    reading: Reading,
    document_ids: Sequence[UUID],
    *,
    give_up: Callable[[], bool] = lambda: False,
    transient: bool = False,
) -> dict[UUID, Row]:
    """Show how the documents move until each is ready, failed or deleted; return the last rows.

    Returns earlier when `give_up` says so; then some rows are not terminal. `transient`: what was shown on a terminal
    disappears, for callers that print the outcome themselves.
    """
    patience = _Patience(reading)
    with _shown(transient=transient) as show:
        while True:
            found = reading.follow(document_ids)
            rows = {each: found[each] for each in document_ids}
            show(rows)
            if give_up() or all(row["state"] in TERMINAL for row in rows.values()):
                return rows
            patience.look(rows)
            time.sleep(LOOK_SECONDS)


class _Patience:
    """Says once that nothing moves because no worker runs."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._rows: Mapping[UUID, Row] = {}
        self._since = time.monotonic()
        self._has_spoken = False

    def look(self, rows: Mapping[UUID, Row]) -> None:
        if rows != self._rows:
            self._rows, self._since = rows, time.monotonic()
        elif not self._has_spoken and time.monotonic() - self._since > QUIET_SECONDS:
            self._has_spoken = True
            if not self._reading.has_workers():
                say("No worker is running: start `headrace up` or `headrace worker` in another terminal.", "yellow")


@contextmanager
def _shown(*, transient: bool) -> Iterator[Show]:
    if not messages().is_terminal:
        yield _Lines().show
        return
    with Live(console=messages(), refresh_per_second=12, transient=transient) as live:
        yield lambda rows: live.update(_progress(rows))


class _Lines:
    """One line for every change of a document's state."""

    def __init__(self) -> None:
        self._seen: dict[UUID, str] = {}

    def show(self, rows: Mapping[UUID, Row]) -> None:
        for document_id, row in rows.items():
            if self._seen.get(document_id) != row["state"]:
                self._seen[document_id] = row["state"]
                say(f"{row['name']}: {row['state']}{_detail(row)}")


def _progress(rows: Mapping[UUID, Row]) -> Table:
    """One row a document, of many the moving ones first, and a line that counts the rest."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(max_width=36, no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    grid.add_column(width=BAR_COLUMNS)
    grid.add_column(overflow="fold")
    shown = list(rows.values())
    if len(shown) > MOST_LINES:  # a short list keeps its order, so that nothing jumps
        shown.sort(key=_activity)
    for row in shown[:MOST_LINES]:
        detail = row["failure_code"] or _detail(row, separator="")
        grid.add_row(Text(row["name"]), state(row["state"]), _bar(row), Text(detail))
    if rest := shown[MOST_LINES:]:
        done = sum(row["state"] in TERMINAL for row in rest)
        grid.add_row(Text(f"and {len(rest)} more, {done} of them done", style="dim"))
    return grid


def _activity(row: Row) -> int:
    return {"indexing": 0, "extracting": 1, "failed": 2, "uploaded": 3}.get(row["state"], 4)


def _bar(row: Row) -> ProgressBar:
    """Extraction fills the first half, indexing the second."""
    pages = row["pages_done"] / row["page_count"] if row["page_count"] else 0.0
    chunks = row["chunks_done"] / row["chunk_count"] if row["chunk_count"] else 0.0
    done = (
        1.0
        if row["state"] in TERMINAL
        else {"uploaded": 0.0, "extracting": pages / 2}.get(row["state"], 0.5 + chunks / 2)
    )
    style = "red" if row["state"] == "failed" else "cyan"
    return ProgressBar(
        total=1.0,
        completed=done,
        width=BAR_COLUMNS,
        complete_style=style,
        finished_style=style if style == "red" else "green",
    )


def _detail(row: Row, separator: str = ", ") -> str:
    if row["state"] == "failed":
        return f"{separator}{row['failure_code']}: {row['failure_message']}"
    text = ""
    if row["state"] == "extracting" and row["page_count"]:
        text = f"page {row['pages_done']:,} of {row['page_count']:,}"
    elif row["state"] == "indexing" and row["chunk_count"]:
        text = f"chunk {row['chunks_done']:,} of {row['chunk_count']:,}"
    elif row["state"] == "ready":
        text = f"{count(row['page_count'], 'page')}, {count(row['chunk_count'], 'chunk')}"
    return f"{separator}{text}" if text else ""


def count(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
