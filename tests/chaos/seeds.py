"""Workspaces that are full from the start, so that exports and erasures have something to do."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from adapters.bootstrap import make_blobs
from adapters.postgres.erasures import PAGES, PostgresErasures
from adapters.settings import Settings
from tests.chaos.site import Site

SEEDS = (
    "INSERT INTO workspaces (id, name) VALUES (%(workspace_id)s, %(workspace_id)s::text)",
    "INSERT INTO documents (id, workspace_id, name, state, blob_key, content_sha256, byte_count, page_count,"
    " pages_done, chunk_count, chunks_done, generation, ready_at)"
    " SELECT id, %(workspace_id)s, 'seed ' || id, 'ready', %(workspace_id)s || '/' || id, sha256(id::text::bytea), 36,"
    " %(pages)s, %(pages)s, %(chunks)s, %(chunks)s, 1, now() FROM unnest(%(documents)s::uuid[]) id",
    "INSERT INTO document_pages (document_id, generation, number, text, characters)"
    " SELECT id, 1, n, 'Page ' || n || ' of ' || id, 40"
    " FROM unnest(%(documents)s::uuid[]) id, generate_series(1, %(pages)s) n",
    "INSERT INTO chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to,"
    " char_start, char_end, token_count)"
    " SELECT id, 1, n, %(workspace_id)s, words, sha256(convert_to(words, 'UTF8')), 1, 1, 0, 9, 9"
    " FROM unnest(%(documents)s::uuid[]) id, generate_series(1, %(chunks)s) n,"
    " LATERAL (SELECT id || ' ' || n || ': the river turns the wheel of the mill' AS words) text",
    "INSERT INTO chunk_embeddings (workspace_id, model, text_hash, embedding)"
    " SELECT workspace_id, 'seed/64', text_hash,"
    " (SELECT array_agg(((get_byte(text_hash, n %% 32) + n) / 300.0)::real) FROM generate_series(1, 64) n)::halfvec"
    " FROM chunks WHERE workspace_id = %(workspace_id)s",
    "INSERT INTO notifications (id, workspace_id, user_name, kind, title, body, about, dedup_key)"
    " SELECT gen_random_uuid(), %(workspace_id)s, 'seed', 'document.ready', 'ready', '', 'document:' || id, id::text"
    " FROM unnest(%(documents)s::uuid[]) id",
)

#: What an erasure's receipt must count exactly. Jobs and their events come and go while it runs.
COUNTED = ("documents", "document_pages", "chunks", "chunk_embeddings", "notifications", "media_files")

#: What is told of an erasure itself stays.
NEWS = frozenset({"jobs", "job_events"})


@dataclass(frozen=True)
class Seed:
    """A workspace and its documents."""

    workspace_id: UUID
    documents: tuple[UUID, ...]


def seed_workspace(site: Site, settings: Settings, *, documents: int, pages: int, chunks: int) -> Seed:
    """Fill a new workspace; every document has a file, and text that no other has."""
    seed, blobs = Seed(uuid4(), tuple(uuid4() for _ in range(documents))), make_blobs(settings)
    for document_id in seed.documents:
        blobs.put(f"{seed.workspace_id}/{document_id}", [str(document_id).encode()])
    params = {
        "workspace_id": seed.workspace_id,
        "documents": list(seed.documents),
        "pages": pages,
        "chunks": chunks,
    }
    with site.connected() as connection:
        for statement in SEEDS:
            connection.execute(statement, params)
    return seed


def census(site: Site, workspace_id: UUID) -> dict[str, int]:
    """Count what an erasure's receipt must count."""
    counts = {table: _count(site, table, workspace_id) for table in COUNTED}
    files = (path for path in (site.blob_folder / str(workspace_id)).rglob("*") if path.is_file())
    return {**counts, "blobs": sum(1 for _ in files)}


def remains(site: Site, workspace_id: UUID) -> dict[str, int]:
    """Count what is left of an erased workspace: rows of any table that should have gone, and blobs."""
    tables = set(PostgresErasures(site.producer.pool).tables()) - NEWS
    counts = {table: _count(site, table, workspace_id) for table in tables} | census(site, workspace_id)
    return {table: count for table, count in counts.items() if count}


def _count(site: Site, table: str, workspace_id: UUID) -> int:
    if table == PAGES:
        table = "document_pages JOIN documents ON documents.id = document_id"
    return int(site.value(f"SELECT count(*) FROM {table} WHERE workspace_id = %s", workspace_id))
