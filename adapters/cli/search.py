"""`headrace search`: the passages that answer a question best."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from adapters.bootstrap import make_search
from adapters.cli.screen import out, put_json, say
from adapters.cli.session import session
from domain.search import Hit

SNIPPET_CHARACTERS = 280


def run_search(query: str, *, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the best passages; finding none is an answer, not an error."""
    with session(data_dir, workspace) as here:
        hits = make_search(here.settings, here.producer.pool)(here.workspace_id, query, limit=limit)
    if as_json:
        put_json([asdict(hit) for hit in hits])
    elif hits:
        out().print(hit_list(hits))
    else:
        say("Nothing found: `headrace status` shows which documents are ready.")


def hit_list(hits: Sequence[Hit]) -> Group:
    """Lay out passages: where each stands, and how it reads."""
    return Group(*(part for place, hit in enumerate(hits, start=1) for part in _hit(place, hit)))


def pages(hit: Hit) -> str:
    """Name the pages of a passage."""
    return f"page {hit.page_from}" if hit.page_from == hit.page_to else f"pages {hit.page_from}-{hit.page_to}"


def snippet(text: str) -> str:
    """Return the beginning of a passage, on one line."""
    return textwrap.shorten(text, SNIPPET_CHARACTERS, placeholder=" ...")


def _hit(place: int, hit: Hit) -> tuple[Text, Padding]:
    head = Text.assemble((f"{place}. ", "bold"), (pages(hit), "bold cyan"), f"  {hit.document_name}  ", (f"{hit.score:.4f}", "dim"))
    return head, Padding(Text(snippet(hit.text)), (0, 0, 0, 3))
