"""The plain task in two stages: the pages travel through Postgres."""

import threading
from typing import Any

import psycopg
from pgvector.psycopg import register_vector

from benchmarks.contenders import body
from benchmarks.contenders.environment import DATABASE_URL
from domain.chunking import Chunker
from domain.documents import Page

_here = threading.local()


def database() -> "psycopg.Connection[Any]":
    """Return this thread's connection."""
    if not hasattr(_here, "connection"):
        _here.connection = psycopg.connect(DATABASE_URL, autocommit=True)
        register_vector(_here.connection)
    return _here.connection


def store_pages(path: str) -> None:
    """Parse the file and store its pages."""
    pages = body.read_pages(path)
    with database().transaction(), database().cursor() as cursor:
        cursor.execute("DELETE FROM bench_pages WHERE document = %s", [path])
        with cursor.copy("COPY bench_pages FROM STDIN") as copy:
            for page in pages:
                copy.write_row((path, page.number, page.text))


def index_pages(path: str) -> None:
    """Chunk, embed and store the pages of a document."""
    found = database().execute("SELECT number, text FROM bench_pages WHERE document = %s ORDER BY number", [path])
    pages = [Page(number, text) for number, text in found]
    chunks = list(Chunker(body.CHUNK_TOKENS, body.OVERLAP_TOKENS).chunk_pages(pages))
    vectors = body.embed(chunks)
    with database().transaction():
        for row in body.rows(path, chunks, vectors):
            database().execute(body.INSERT, row)
        database().execute(body.READY, (path, len(pages), len(chunks)))
