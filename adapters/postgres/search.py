"""Search in Postgres: nearest vectors and full text, fused by rank."""

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import class_row

from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from domain.ports import Vectors
from domain.search import Hit

#: Each of the two rankings looks this many times deeper than the answer, so that what both like rises.
DEPTH_PER_HIT = 5
SHALLOWEST, DEEPEST = 50, 500

#: The index answers from this many candidates at once (pgvector's default is 40, its limit 1000).
SPARE_CANDIDATES = 2


class PostgresSearcher:
    """See domain.search.Searcher."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def search(self, workspace_id: UUID, query: str, vector: Vectors, *, model: str, limit: int) -> Sequence[Hit]:
        """See the port. Read-only; the index goes on looking until enough of its candidates pass the filters."""
        depth = min(max(limit * DEPTH_PER_HIT, SHALLOWEST), DEEPEST)
        params = {
            "workspace_id": workspace_id,
            "query": query,
            "vector": HalfVector(vector),
            "depth": depth,
            "limit": limit,
        }
        settings = {"ef_search": str(depth * SPARE_CANDIDATES)}
        with self._pool.connection() as connection, connection.transaction():
            connection.execute(load_queries("search")["widen_search"], settings)
            with connection.cursor(row_factory=class_row(Hit)) as cursor:
                return cursor.execute(search_statement(model, len(vector)), params).fetchall()


@cache
def search_statement(model: str, dimensions: int) -> sql.Composed:
    """Compose the query for a model: the planner takes a partial index on an expression only for literals."""
    literals = {"model": sql.Literal(model), "dimensions": sql.Literal(dimensions)}
    return sql.SQL(load_queries("search")["search"]).format(**literals)
