"""`headrace search`: the passages that answer a question best."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from adapters.bootstrap import make_search
from adapters.cli.screen import TEXT_COLUMNS, out, put_json, say
from adapters.cli.session import session
from domain.search import Hit

SNIPPET_CHARACTERS = 280
INDENT = "   "
#: Words are compared by their beginnings, so that `wheels` finds `wheel`; shorter ones say little.
SHORTEST_WORD, STEM_CHARACTERS = 4, 5


def run_search(query: str, *, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the best passages; finding none is an answer, not an error."""
    with session(data_dir, workspace) as here:
        hits = make_search(here.settings, here.producer.pool)(here.workspace_id, query, limit=limit)
    if as_json:
        put_json([asdict(hit) for hit in hits])
    elif hits:
        print_hits(hits, query)
    else:
        say("Nothing found: `headrace status` shows which documents are ready.")


def print_hits(hits: Sequence[Hit], query: str) -> None:
    """Print where each passage stands, and its part that comes closest to the question."""
    width = min(out().width, TEXT_COLUMNS)
    for place, hit in enumerate(hits, start=1):
        name = Text(f"  {hit.document_name}", style="bold")
        out().print(Text.assemble(f"{place}. ", (pages(hit), "cyan"), name, (f"  {hit.score:.4f}", "dim")))
        lines = textwrap.wrap(snippet(hit.text, query), width, initial_indent=INDENT, subsequent_indent=INDENT)
        out().print(Text("\n".join(lines)), end="\n\n" if place < len(hits) else "\n")


def pages(hit: Hit) -> str:
    """Name the pages of a passage."""
    return f"page {hit.page_from}" if hit.page_from == hit.page_to else f"pages {hit.page_from}-{hit.page_to}"


def snippet(text: str, query: str, characters: int = SNIPPET_CHARACTERS) -> str:
    """Return the run of whole sentences of a passage that has most of the question's words, on one line."""
    text = " ".join(text.split())
    starts = [0, *(match.end() for match in re.finditer(r"[.!?:] (?=\S)", text))]
    stems = _stems(query)
    scores = {start: len(stems & _stems(text[start : start + characters])) for start in starts}
    best = max(starts, key=lambda start: (scores[start], start)) if max(scores.values()) else 0
    part = textwrap.shorten(text[best:], characters, placeholder=" ...")
    return f"... {part}" if best else part


def _stems(text: str) -> set[str]:
    return {word[:STEM_CHARACTERS] for word in re.findall(r"\w+", text.lower()) if len(word) >= SHORTEST_WORD}
