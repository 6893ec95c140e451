"""PostgreSQL's memory: fill it, and measure what is in it."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import held
from domain.jobs import Lease
from domain.warming import Probe, WarmingReport

_WARMING = load_queries("warming")

EXPLAIN = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ")

#: Blocks of 8 KiB of one call of pg_prewarm: 64 MiB take well under the statement's time limit.
PREWARM_BLOCKS = 8_192
BLOCK_BYTES = 8_192

#: Rows read at a time.
ROWS = 5_000


class PostgresCache:
    """See domain.warming.Cache."""

    def __init__(self, pool: LazyPool, *, model: str, dimensions: int) -> None:
        self._pool = pool
        self._model = model
        self._dimensions = dimensions

    def probe(self, workspace_id: UUID, *, skip: int, probes: int) -> Probe | None:
        """See the port. Sampling reads the vectors themselves, not the index that a search walks through."""
        vectors = self._sample(workspace_id, skip=skip, limit=probes) or self._sample(workspace_id, limit=probes)
        if not vectors:
            return None
        statement, found, read, times = EXPLAIN + self._statement("probe"), 0, 0, []
        with self._pool.connection() as connection:
            for vector in vectors:
                row = connection.execute(statement, {"workspace_id": workspace_id, "vector": vector}).fetchone()
                plan = row[0][0] if row else {}
                found += plan["Plan"]["Shared Hit Blocks"]
                read += plan["Plan"]["Shared Read Blocks"]
                times.append(plan["Execution Time"])
        return Probe(hit=round(found / max(1, found + read), 4), milliseconds=round(median(times), 3))

    def prewarm(self) -> int | None:
        """See the port."""
        with self._pool.connection() as connection:
            can = connection.execute(_WARMING["can_prewarm"]).fetchone()
            if can is None or not can[0]:
                return None
            total = 0
            for relation, size in connection.execute(_WARMING["warm_relations"]).fetchall():
                for first in range(0, size // BLOCK_BYTES, PREWARM_BLOCKS):
                    last = min(first + PREWARM_BLOCKS, size // BLOCK_BYTES) - 1
                    params = {"relation": relation, "first": first, "last": last}
                    row = connection.execute(_WARMING["prewarm"], params).fetchone()
                    total += row[0] if row else 0
        return total

    def read_rows(self, workspace_id: UUID, lease: Lease, *, walks: int) -> int:
        """See the port."""
        ids = {"workspace_id": workspace_id, "model": self._model, "limit": ROWS}
        rows = self._read(_WARMING["read_vectors"], ids, lease) + self._read(_WARMING["read_texts"], ids, lease)
        statement = self._statement("walk")
        for vector in self._sample(workspace_id, limit=walks):
            lease.checkpoint()
            with self._pool.connection() as connection:
                connection.execute(statement, {"workspace_id": workspace_id, "vector": vector})
        return rows

    def note(self, workspace_id: UUID, report: WarmingReport, lease: Lease) -> None:
        """See the port."""
        params = {"job_id": lease.job_id, "workspace_id": workspace_id, "data": Jsonb(asdict(report))}
        with held(self._pool, lease) as connection:
            connection.execute(_WARMING["note_warming"], params)
            PostgresJobs(connection, lease).finish()
        lease.settled = True

    def _read(self, query: LiteralString, ids: dict[str, Any], lease: Lease) -> int:
        total, after = 0, b""
        while True:
            lease.checkpoint()
            with self._pool.connection() as connection:
                row = connection.execute(query, ids | {"after": after}).fetchone()
            if row is None or not row[0]:
                return total
            total, after = total + row[0], row[1]

    def _sample(self, workspace_id: UUID, *, limit: int, skip: int = 0) -> Sequence[Any]:
        params = {"workspace_id": workspace_id, "model": self._model, "skip": skip, "limit": limit}
        with self._pool.connection() as connection:
            return [row[0] for row in connection.execute(_WARMING["sample_vectors"], params)]

    def _statement(self, name: str) -> sql.Composed:
        literals = {"model": sql.Literal(self._model), "dimensions": sql.Literal(self._dimensions)}
        return sql.SQL(_WARMING[name]).format(**literals)
