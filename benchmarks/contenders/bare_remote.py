"""A plain script over a remote embedder: each process parses in one thread and waits for answers in others.

No queue, no ledger, no sandbox, no vector index; as many documents under way as Headrace has threads.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import psycopg
from pgvector.psycopg import register_vector

from benchmarks.contenders import body
from benchmarks.contenders.environment import DATABASE_URL
from benchmarks.contenders.in_processes import Script, complain
from benchmarks.sizes import HEADRACE_REMOTE_THREADS, PROCESSES
from domain.chunking import Chunker
from domain.documents import Chunk

_own = threading.local()
_under_way = threading.Semaphore(HEADRACE_REMOTE_THREADS)


def ingest(path: str) -> None:
    """Read and cut here, MuPDF allows one thread; leave the rest to a thread that may wait."""
    _under_way.acquire()
    pages = body.read_pages(path)
    chunks = list(Chunker(body.CHUNK_TOKENS, body.OVERLAP_TOKENS).chunk_pages(pages))
    waiting().submit(embed_and_store, path, len(pages), chunks).add_done_callback(complain)


def embed_and_store(path: str, pages: int, chunks: Sequence[Chunk]) -> None:
    """Embed, and write everything in one transaction."""
    try:
        vectors = body.embed(chunks)
        with database().transaction(), database().cursor() as cursor:
            body.copy_rows(cursor, path, chunks, vectors)
            cursor.execute(body.READY, (path, pages, len(chunks)))
    finally:
        _under_way.release()


@cache
def waiting() -> ThreadPoolExecutor:
    """Start this process's threads."""
    return ThreadPoolExecutor(HEADRACE_REMOTE_THREADS)


def database() -> "psycopg.Connection[Any]":
    """Open this thread's one connection."""
    if not hasattr(_own, "connection"):
        _own.connection = psycopg.connect(DATABASE_URL, autocommit=True)
        register_vector(_own.connection)
    connection: psycopg.Connection[Any] = _own.connection
    return connection


send_document = Script(ingest, body.warm_up, PROCESSES).send
