"""Search in Postgres: nearest vectors and full text, fused by rank."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import class_row

from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from domain.ports import Vectors
from domain.search import Hit, SearchMode, Within

#: Each of the two rankings looks this many times deeper than the answer, so that what both like rises.
DEPTH_PER_HIT = 5
SHALLOWEST, DEEPEST = 50, 500

#: The index answers from this many candidates at once (pgvector's default is 40, its limit 1000).
SPARE_CANDIDATES = 2

#: Within so few documents each passage is compared: the index knows no documents and would look at all others first.
FEW_DOCUMENTS = 20


class PostgresSearcher:
    """See domain.search.Searcher."""

    def __init__(self, pool: LazyPool, reading: LazyPool | None = None) -> None:
        """`reading`: lends connections with the caller's own rights, in which the passages are read."""
        self._pool = pool
        self._reading = reading or pool

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
        """See the port. Read-only; where the index finds too few that pass the filters, all that do are compared."""
        depth = min(max(limit * DEPTH_PER_HIT, SHALLOWEST), DEEPEST)
        params = {
            "workspace_id": workspace_id,
            "query": query,
            "vector": HalfVector(vector),
            "by_meaning": mode is not SearchMode.TEXT,
            "by_index": within.document_ids is None or len(within.document_ids) > FEW_DOCUMENTS,
            "by_words": mode is not SearchMode.VECTOR,
            "document_ids": None if within.document_ids is None else list(within.document_ids),
            "uploaded_from": within.uploaded_from,
            "uploaded_to": within.uploaded_to,
            "depth": depth,
            "limit": limit,
        }
        settings = {"ef_search": str(depth * SPARE_CANDIDATES)}
        with self._pool.connection() as connection, connection.transaction():
            connection.execute(load_queries("search")["widen_search"], settings)
            found = connection.execute(search_statement(model, len(vector)), params).fetchall()
        return self._read(workspace_id, found) if found else []

    def _read(self, workspace_id: UUID, found: Sequence[tuple[Any, ...]]) -> Sequence[Hit]:
        """Read the passages, with no more rights than the caller has."""
        names = ("document_ids", "generations", "ordinals", "scores")
        params = dict(zip(names, map(list, zip(*found, strict=True)), strict=True))
        with self._reading.connection() as connection, connection.cursor(row_factory=class_row(Hit)) as cursor:
            return cursor.execute(load_queries("search")["read"], params | {"workspace_id": workspace_id}).fetchall()


@cache
def search_statement(model: str, dimensions: int) -> sql.Composed:
    """Compose the query for a model: the planner takes a partial index on an expression only for literals."""
    literals = {"model": sql.Literal(model), "dimensions": sql.Literal(dimensions)}
    return sql.SQL(load_queries("search")["rank"]).format(**literals)
