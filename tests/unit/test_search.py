"""search_chunks checks the question, embeds it once, and asks the searcher."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from domain.errors import InvalidJobError
from domain.search import EVERYWHERE, MOST_HITS, QUERY_CHARACTERS, Hit, SearchMode, search_chunks
from tests.builders import FakeEmbedder

WORKSPACE = uuid4()
HIT = Hit(uuid4(), "river.pdf", 0, 1, 1, 0, 4, "mill", 0.03)


@dataclass
class FakeSearcher:
    asked: list[dict[str, Any]] = field(default_factory=list)

    def search(
        self, workspace_id: Any, query: str, vector: Any, *, model: str, limit: int, **options: Any
    ) -> Sequence[Hit]:
        self.asked.append({"query": query, "shape": vector.shape, "model": model, "limit": limit, **options})
        return [HIT]


def search(query: str, **options: Any) -> tuple[Sequence[Hit], FakeSearcher, FakeEmbedder]:
    searcher, embedder = FakeSearcher(), FakeEmbedder()
    return search_chunks(WORKSPACE, query, searcher=searcher, embedder=embedder, **options), searcher, embedder


def test_the_question_is_embedded_once_and_asked_with_its_model():
    hits, searcher, embedder = search("mill wheel", limit=3)

    assert hits == [HIT]
    assert embedder.calls == [["mill wheel"]]
    assert searcher.asked == [
        {
            "query": "mill wheel",
            "shape": (8,),
            "model": "fake/8",
            "limit": 3,
            "mode": SearchMode.FUSED,
            "within": EVERYWHERE,
        }
    ]


def test_words_alone_need_no_embedding_service():
    _, searcher, embedder = search("mill wheel", mode=SearchMode.TEXT)

    assert embedder.calls == []
    assert searcher.asked[0]["shape"] == (8,)


@pytest.mark.parametrize("query", ["  mill\x00 wheel \n", "mill wheel\x07"])
def test_debris_of_a_terminal_is_removed(query):
    assert search(query)[1].asked[0]["query"] == "mill wheel"


def test_bytes_that_are_no_text_do_not_reach_the_database():
    assert search("mill \udcff")[1].asked[0]["query"] == "mill \ufffd"


@pytest.mark.parametrize("query", ["", "  \n", "\x00"])
def test_a_blank_question_is_refused(query):
    with pytest.raises(InvalidJobError, match="empty"):
        search(query)


def test_a_question_as_long_as_a_document_is_refused():
    search("m" * QUERY_CHARACTERS)
    with pytest.raises(InvalidJobError, match="2,001 characters and 2,000 are allowed"):
        search("m" * (QUERY_CHARACTERS + 1))


@pytest.mark.parametrize("limit", [0, -1, MOST_HITS + 1])
def test_an_unreasonable_limit_is_refused(limit):
    with pytest.raises(InvalidJobError, match=f"from 1 to {MOST_HITS}"):
        search("mill", limit=limit)
