"""The work itself, as a plain task does it: the same parser, chunker and model as Headrace, in this process."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pymupdf
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from adapters.pdf.document import TEXT_FLAGS
from benchmarks.contenders.environment import DATABASE_URL, EMBEDDINGS_URL
from domain.chunking import Chunker
from domain.documents import Chunk, Page
from domain.embedding import plan_batches
from domain.ports import Embedder, Vectors
from domain.text import clean_text

#: Headrace's own defaults.
CHUNK_TOKENS, OVERLAP_TOKENS = 256, 25

REMOTE_MODEL, REMOTE_DIMENSIONS, LOCAL_DIMENSIONS = "text-embedding-3-small", 1536, 256

TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE bench_documents (name text NOT NULL, pages int NOT NULL, chunks int NOT NULL);
CREATE TABLE bench_pages (document text, number int, text text);
CREATE TABLE bench_chunks (document text, ordinal int, text text, page_from int, page_to int, embedding halfvec({0}));
"""
#: Headrace's tables have one, so everybody keeps one up to date.
INDEX = "CREATE INDEX ON bench_chunks USING hnsw (embedding halfvec_cosine_ops)"

_COLUMNS = "(document, ordinal, text, page_from, page_to, embedding)"
INSERT = f"INSERT INTO bench_chunks {_COLUMNS} VALUES (%s, %s, %s, %s, %s, %s)"
COPY = f"COPY bench_chunks {_COLUMNS} FROM STDIN (FORMAT BINARY)"
READY = "INSERT INTO bench_documents VALUES (%s, %s, %s)"


def create_tables(url: str, *, dimensions: int, index: bool = True) -> None:
    """Make the tables of a plain task."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(TABLES.format(dimensions))
        if index:
            connection.execute(INDEX)


def ingest_row_by_row(path: str) -> None:
    """Parse, chunk, embed, insert row by row, in one transaction: what a task looks like in most projects."""
    pages, chunks, vectors = prepare(path)
    with database().transaction():
        for row in rows(path, chunks, vectors):
            database().execute(INSERT, row)
        database().execute(READY, (path, pages, len(chunks)))


def ingest_with_copy(path: str) -> None:
    """Do the same with one binary COPY: as fast as it gets."""
    pages, chunks, vectors = prepare(path)
    with database().transaction(), database().cursor() as cursor:
        copy_rows(cursor, path, chunks, vectors)
        cursor.execute(READY, (path, pages, len(chunks)))


def copy_rows(cursor: "psycopg.Cursor[Any]", path: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
    """Write chunks and vectors by one binary COPY."""
    with cursor.copy(COPY) as copy:
        copy.set_types(["text", "int4", "text", "int4", "int4", "halfvec"])
        for row in rows(path, chunks, vectors):
            copy.write_row(row)


def parse_only(path: str) -> None:
    """Parse, and note that it is done: what no embedder can be blamed for."""
    database().execute(READY, (path, len(read_pages(path)), 0))


def prepare(path: str) -> tuple[int, list[Chunk], Vectors]:
    """Return the number of pages, the chunks and their vectors."""
    pages = read_pages(path)
    chunks = list(Chunker(CHUNK_TOKENS, OVERLAP_TOKENS).chunk_pages(pages))
    return len(pages), chunks, embed(chunks)


def read_pages(path: str) -> list[Page]:
    """Read every page in this process."""
    with closing(pymupdf.open(path, filetype="pdf")) as document:
        texts = (page.get_text("text", flags=TEXT_FLAGS) for page in document)
        return [Page(number, clean_text(text)) for number, text in enumerate(texts, start=1)]


def embed(chunks: Sequence[Chunk]) -> Vectors:
    """Embed in the embedder's batches, one after another."""
    import numpy as np

    batches = plan_batches(chunks, embedder().limits, tokens=lambda chunk: chunk.token_count)
    vectors = [embedder().embed([chunk.text for chunk in batch]).vectors for batch in batches]
    return np.concatenate(vectors) if vectors else np.empty((0, embedder().dimensions), np.float32)


def rows(path: str, chunks: Sequence[Chunk], vectors: Vectors) -> Iterable[tuple[Any, ...]]:
    """Pair chunks and vectors as rows."""
    name = Path(path).name
    for chunk, vector in zip(chunks, vectors, strict=True):
        yield name, chunk.ordinal, chunk.text, chunk.page_from, chunk.page_to, HalfVector(vector)


@cache
def embedder() -> Embedder:
    """Build this process's embedder: the local model's own package, or a client of the server that the run started."""
    if not EMBEDDINGS_URL:
        from benchmarks.contenders.wordllama_model import WordLlamaModel

        return WordLlamaModel(LOCAL_DIMENSIONS)
    from adapters.embeddings.openai_compatible import OpenAIEmbedder

    return OpenAIEmbedder(model=REMOTE_MODEL, dimensions=REMOTE_DIMENSIONS, api_key="bench", base_url=EMBEDDINGS_URL)


@cache
def database() -> "psycopg.Connection[Any]":
    """Open this process's one connection."""
    connection = psycopg.connect(DATABASE_URL, autocommit=True)
    register_vector(connection)
    return connection


def warm_up() -> None:
    """Load the model and connect, before the clock runs."""
    embedder().embed(["warm"])
    database()


def use_our_reader() -> None:
    """Read the local model as Headrace does, instead of through its package, and be warm."""
    global embedder  # noqa: PLW0603 - one model a process
    from adapters.embeddings.local import LocalEmbedder

    embedder = cache(lambda: LocalEmbedder(LOCAL_DIMENSIONS))
    warm_up()
