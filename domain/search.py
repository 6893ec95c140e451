"""Search: the passages of a workspace that answer a question best."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import numpy as np

from domain.errors import InvalidJobError
from domain.ports import Embedder, Vectors
from domain.text import clean_text

#: A question, not a document: embedding and full-text ranking cost grow with every word.
QUERY_CHARACTERS = 2_000
MOST_HITS = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, and where it stands; see domain.documents.Chunk. A higher `score` is better."""

    document_id: UUID
    document_name: str
    ordinal: int
    page_from: int
    page_to: int
    char_start: int
    char_end: int
    text: str
    score: float


class SearchMode(StrEnum):
    """What is compared: vectors, words, or both, fused by rank."""

    FUSED = "fused"
    VECTOR = "vector"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Within:
    """Which documents are searched; None: any. Times are those of the upload, from inclusive, to exclusive."""

    document_ids: tuple[UUID, ...] | None = None
    uploaded_from: datetime | None = None
    uploaded_to: datetime | None = None


EVERYWHERE = Within()


class Searcher(Protocol):
    """Finds passages by the meaning and by the words of a question."""

    def search(
        self,
        workspace_id: UUID,
        query: str,
        vector: Vectors,
        *,
        model: str,
        limit: int,
        mode: SearchMode,
        within: Within,
    ) -> Sequence[Hit]:
        """Return at most `limit` published passages, best first, ties in a fixed order.

        `vector`, shape (dimensions,), is the question as `model` embeds it; only vectors of that model are compared.
        Raises TransientError (database_unavailable).
        """
        ...


def search_chunks(
    workspace_id: UUID,
    query: str,
    *,
    limit: int = 10,
    mode: SearchMode = SearchMode.FUSED,
    within: Within = EVERYWHERE,
    searcher: Searcher,
    embedder: Embedder,
) -> Sequence[Hit]:
    """Find the passages of a workspace that fit the question best, by meaning and by words together.

    A question of stop words alone is answered by meaning. An unknown workspace has no passages. Raises InvalidJobError
    for a blank or too long question, and what the embedder and the searcher raise.
    """
    query = clean_text(query).strip()
    if not query:
        raise InvalidJobError("the question is empty: say what to look for")
    if len(query) > QUERY_CHARACTERS:
        raise InvalidJobError(f"the question has {len(query):,} characters and {QUERY_CHARACTERS:,} are allowed")
    if not 1 <= limit <= MOST_HITS:
        raise InvalidJobError(f"limit must be from 1 to {MOST_HITS}, not {limit}")
    # Words alone need no model: the search works while the embedding service does not.
    vector = (
        np.zeros(embedder.dimensions, np.float32) if mode is SearchMode.TEXT else embedder.embed([query]).vectors[0]
    )
    return searcher.search(workspace_id, query, vector, model=embedder.model, limit=limit, mode=mode, within=within)
