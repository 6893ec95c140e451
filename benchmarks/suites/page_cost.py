"""What a page costs when the tables hold few chunks, and when they hold many: same workers, same files, in turns."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from statistics import median
from uuid import UUID, uuid5

import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from adapters.embeddings.local import LocalEmbedder
from adapters.postgres.pool import connect
from adapters.postgres.vector_index import ensure_vector_index, vector_index_name
from benchmarks.bench import Bench, Figure
from benchmarks.contenders import named
from benchmarks.contenders.headrace_places import workspace_id
from benchmarks.files import WORDS, File, multiply
from benchmarks.running import Running, running
from benchmarks.suites.bulk import warm_up

FILLER = workspace_id(62)
CHUNKS_PER_DOCUMENT = 1_000
WORDS_PER_CHUNK = 60
CENTRES, SPREAD = 4_096, 0.35
WORKSPACES_PER_ROUND = 10

DOCUMENT = """
INSERT INTO documents (id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation, chunk_count,
                       ready_at)
VALUES (%s, %s, 'filler', 'ready', 'filler', sha256(%s::text::bytea), 1, 1, 1, now())
"""
CHUNKS = """
COPY chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to, char_start, char_end,
             token_count) FROM STDIN (FORMAT BINARY)
"""
CHUNK_TYPES = ["uuid", "int4", "int4", "uuid", "text", "bytea", "int4", "int4", "int4", "int4", "int4"]
VECTORS = "COPY chunk_embeddings (workspace_id, model, text_hash, embedding, is_indexed) FROM STDIN (FORMAT BINARY)"


def page_cost(bench: Bench) -> Figure:
    """Ingest the same pages beside few chunks and beside many; the index on the vectors stands in both."""
    files = multiply(bench.originals, bench.sizes.page_cost_pages, bench.fresh_folder("page-cost"))
    costs: dict[int, list[float]] = {size: [] for size in bench.sizes.chunks}
    with ExitStack() as stack:
        runs = {size: _filled(bench, stack, size) for size in bench.sizes.chunks}
        for number in range(max(2, bench.sizes.rounds)):
            for size, run in runs.items():
                costs[size].append(_one_round(run, files, number))
    small, large = (costs[size] for size in bench.sizes.chunks)
    ratio = median(b / a for a, b in zip(small, large, strict=True))
    names = {f"ms_per_page_at_{size}_chunks": round(median(costs[size]) * 1e3, 2) for size in bench.sizes.chunks}
    return {**names, "ratio": round(ratio, 3)}


def _filled(bench: Bench, stack: ExitStack, size: int) -> Running:
    url = stack.enter_context(bench.servers.database())
    run = stack.enter_context(
        running(
            named(["headrace"])[0],
            bench.servers,
            url,
            kind="documents",
            patience_seconds=bench.sizes.patience_seconds,
            settings={"QUEUE_NAME": f"bench-{size}"},
        )
    )
    bench.say(f"filling a database with {size:,} chunks")
    fill(url, size)
    warm_up(run, bench)
    return run


def _one_round(run: Running, files: list[File], number: int) -> float:
    """Return seconds a page."""
    already = run.ready()
    began = 0
    for file in files:
        answer = run.send_document(file.path, number * WORKSPACES_PER_ROUND + file.workspace)
        began = began or answer["began"]
    ended = run.wait_until_ready(already + len(files), look_seconds=0.02)
    return (ended - began) / 1e9 / sum(file.pages for file in files)


def fill(url: str, size: int) -> None:
    """Put chunks with vectors into the tables; the vector index is built after them, as a restore does."""
    model = LocalEmbedder()
    name = sql.Identifier(vector_index_name(model.model, model.dimensions))
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        register_vector(connection)
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(name))
        for number in range(-(-size // CHUNKS_PER_DOCUMENT)):
            _fill_document(connection, number, min(CHUNKS_PER_DOCUMENT, size - number * CHUNKS_PER_DOCUMENT), model)
        connection.execute("VACUUM ANALYZE chunks, chunk_embeddings, documents")
    with closing(connect(url)) as connection:
        connection.execute("SET maintenance_work_mem = '2GB'")
        ensure_vector_index(connection, model.model, model.dimensions)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CHECKPOINT")


def _fill_document(connection: "psycopg.Connection[object]", number: int, count: int, model: LocalEmbedder) -> None:
    document = uuid5(FILLER, str(number))
    texts = list(_texts(number, count))
    hashes = [sha256(text.encode()).digest() for text in texts]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(DOCUMENT, [document, FILLER, number])
        with cursor.copy(CHUNKS) as copy:
            copy.set_types(CHUNK_TYPES)
            for ordinal, (text, text_hash) in enumerate(zip(texts, hashes, strict=True)):
                copy.write_row(_chunk(document, ordinal, text, text_hash))
        with cursor.copy(VECTORS) as copy:
            copy.set_types(["uuid", "text", "bytea", "halfvec", "bool"])
            for text_hash, vector in zip(hashes, _vectors(number, count, model.dimensions), strict=True):
                copy.write_row((FILLER, model.model, text_hash, HalfVector(vector), True))


def _chunk(document: UUID, ordinal: int, text: str, text_hash: bytes) -> tuple[object, ...]:
    return document, 1, ordinal, FILLER, text, text_hash, 1, 1, 0, len(text), WORDS_PER_CHUNK


def _texts(seed: int, count: int) -> Iterator[str]:
    words = random.Random(seed)
    return (f"{seed} {index} " + " ".join(words.choices(WORDS, k=WORDS_PER_CHUNK)) for index in range(count))


def _vectors(seed: int, count: int, dimensions: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return vectors in clusters, as texts have them: vectors without any order are an index's worst case."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, dimensions))
    here = np.random.default_rng(seed + 1)
    vectors = centres[here.integers(CENTRES, size=count)] + SPREAD * here.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
