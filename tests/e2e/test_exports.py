"""An export of 100,000 chunks by real workers: little memory, a kill in the middle, and every row is there."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from uuid import UUID

import numpy as np
import pyarrow.parquet as parquet
import pytest

from adapters.postgres.jobs import named_job
from tests.builders import WORKSPACE
from tests.e2e.conftest import IMPATIENT, Site
from tests.workers import running_workers

CHUNKS_PER_DOCUMENT, DOCUMENTS = 1_000, 100
DIMENSIONS = 256
MOST_BYTES = 300 * 1024 * 1024

SEED = """
INSERT INTO documents (id, workspace_id, name, state, blob_key, content_sha256, byte_count, page_count, pages_done,
                       chunk_count, chunks_done, generation, ready_at)
SELECT gen_random_uuid(), %(workspace_id)s, 'seed ' || n, 'ready', 'seed/' || n, sha256(n::text::bytea), 1, 10, 10,
       %(chunks)s, %(chunks)s, 1, now()
FROM generate_series(1, %(documents)s) n;
"""
PAGES = """
INSERT INTO document_pages (document_id, generation, number, text, characters)
SELECT id, 1, n, repeat('The river turns the mill of page ' || n || '. ', 50), 1500
FROM documents, generate_series(1, 10) n WHERE workspace_id = %(workspace_id)s
"""
CHUNKS = """
INSERT INTO chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to, char_start,
                    char_end, token_count)
SELECT id, 1, n, workspace_id, words, sha256(convert_to(words, 'UTF8')), 1, 1, 0, 900, 200
FROM documents, generate_series(1, %(chunks)s) n,
     LATERAL (SELECT name || ' ' || n || repeat(' the mill and the river and the wheel', 25) AS words) text
WHERE workspace_id = %(workspace_id)s
"""
VECTORS = """
INSERT INTO chunk_embeddings (workspace_id, model, text_hash, embedding)
SELECT workspace_id, 'seed/256', text_hash, vector::halfvec FROM chunks,
       (SELECT array_agg(((n * 37) %% 101 / 101.0)::real) AS vector FROM generate_series(1, %(dimensions)s) n) one
WHERE workspace_id = %(workspace_id)s
"""

#: Of each kind but the vectors: how many rows there are, columns of the export, and the same of the tables.
STORED = {
    "documents": (
        DOCUMENTS,
        ("id", "name", "chunk_count"),
        "SELECT id::text, name, chunk_count FROM documents ORDER BY documents.id",
    ),
    "pages": (
        DOCUMENTS * 10,
        ("document_id", "number", "text"),
        "SELECT document_id::text, number, text FROM document_pages p ORDER BY p.document_id, number",
    ),
    "chunks": (
        DOCUMENTS * CHUNKS_PER_DOCUMENT,
        ("document_id", "ordinal", "text", "text_hash"),
        "SELECT document_id::text, ordinal, text, encode(text_hash, 'hex') FROM chunks c"
        " ORDER BY c.document_id, ordinal",
    ),
}


@pytest.fixture
def full(site: Site) -> Iterator[Site]:
    params = {
        "workspace_id": WORKSPACE, "documents": DOCUMENTS, "chunks": CHUNKS_PER_DOCUMENT, "dimensions": DIMENSIONS,
    }  # fmt: skip
    site.rails.connection.execute("SET statement_timeout = 0")
    for statement in (SEED, PAGES, CHUNKS, VECTORS):
        site.rails.connection.execute(statement, params)
    yield site
    site.rails.connection.execute("DELETE FROM documents; DELETE FROM chunk_embeddings")


def start(site: Site, wanted: str) -> UUID:
    job = named_job("export_workspace", {"workspace_id": WORKSPACE, "format": wanted})
    site.rails.ledger.enqueue(job)
    return job.id


def parts(site: Site, export_id: UUID) -> int:
    return int(site.rails.column("SELECT count(*) FROM export_parts WHERE export_id = %s", export_id)[0])


def look(pids: list[int]) -> int:
    """Return the most memory that any of these processes has ever had, in bytes."""
    peaks = [0]
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)


def hash_of(rows: Iterator[tuple]) -> tuple[int, str]:
    """Return the number of rows and one hash of all, in their order."""
    count, digest = 0, hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
        count += 1
    return count, digest.hexdigest()


def exported(full: Site, export_id: UUID, kind: str, *columns: str) -> Iterator[tuple]:
    parts = full.rails.connection.execute(
        "SELECT blob_key, sha256, row_count FROM export_parts WHERE export_id = %s AND kind = %s ORDER BY number",
        [export_id, kind],
    ).fetchall()
    for key, sha256, count in parts:
        path = full.folder / "blobs" / key
        assert hashlib.sha256(path.read_bytes()).digest() == sha256
        table = parquet.read_table(path, columns=list(columns))
        assert table.num_rows == count
        for batch in table.to_batches():
            values = batch.to_pydict()
            yield from zip(*(values[column] for column in columns), strict=True)


@pytest.mark.timeout(600)
def test_a_large_export_takes_little_memory_survives_a_kill_and_is_whole(full: Site, record_property) -> None:
    with running_workers(full.environment | IMPATIENT, processes=1, restart=True) as workers:
        export_id = start(full, "parquet")
        full.wait_until(lambda: parts(full, export_id) >= 4, 120)
        peak, before = look(workers.pids), parts(full, export_id)
        os.kill(workers.pids[0], signal.SIGKILL)
        while not full.rails.column(
            "SELECT finished_at FROM jobs WHERE id = %s AND finished_at IS NOT NULL", export_id
        ):
            peak = max(peak, look(workers.pids))
            full.wait_until(lambda: True, 1)
            Event().wait(0.05)
        said = [json.loads(line) for line in workers.log.splitlines() if '"workspace_exported"' in line]

    assert full.rails.job(export_id)["crash_count"] == 1
    assert said[0]["resumed_after"] >= before >= 4
    record_property("peak_mib", round(peak / 2**20))
    record_property("resumed_after", said[0]["resumed_after"])
    assert peak < MOST_BYTES, f"{peak / 2**20:.0f} MiB"
    for kind, (count, columns, query) in STORED.items():
        stored = hash_of(iter(full.rails.connection.execute(query)))
        assert stored[0] == count
        assert hash_of(exported(full, export_id, kind, *columns)) == stored
    vectors = "SELECT encode(text_hash, 'hex'), embedding::real[] FROM chunk_embeddings ORDER BY model, text_hash"
    stored = hash_of((key, np.float32(vector).tobytes()) for key, vector in full.rails.connection.execute(vectors))
    told = (
        (key, np.float32(vector).tobytes())
        for key, vector in exported(full, export_id, "embeddings", "text_hash", "embedding")
    )
    assert hash_of(told) == stored
    (manifest,) = full.rails.column("SELECT manifest FROM exports WHERE id = %s", export_id)
    assert manifest["rows"] == {kind: row[0] for kind, row in STORED.items()} | {"embeddings": stored[0]}
