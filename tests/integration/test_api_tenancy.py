"""One workspace's key opens nothing of another's: by every statement's own filter, and by the database behind it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.postgres.api_reading import WorkspaceReading
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.tenancy import WorkspacePool
from tests.api import Api, an_api
from tests.builders import (
    WORKSPACE,
    Rails,
    a_failed_document,
    a_pdf,
    a_pending_job,
    a_ready_document,
    a_workspace,
    an_indexing_document,
)

_FILTER = re.compile(r"\b(?:\w+\.)?workspace_id = %\(workspace_id\)s")

#: Everything that a stranger must neither see nor change.
TABLES = ("documents", "jobs", "job_attempts", "job_events", "document_pages", "chunks", "chunk_embeddings",
          "unowned_blobs", "token_reservations", "workspaces")  # fmt: skip


#: Answers that never end; the tests of live progress try them with another workspace's key.
ENDLESS = {"/events"}


@dataclass
class Neighbours:
    """A workspace full of documents and tasks, and the key of another one."""

    rails: Rails
    owner: Api
    stranger: Api
    stranger_id: UUID
    documents: list[UUID]
    tasks: list[UUID]

    def state(self) -> dict[str, list[str]]:
        """Everything that the owner has."""
        return {
            table: sorted(self.rails.column(f"SELECT row_to_json(t)::text FROM {table} t WHERE t::text NOT LIKE %s",
                                            f"%{self.stranger_id}%"))
            for table in TABLES
        }  # fmt: skip


@pytest.fixture
def neighbours(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Neighbours]:
    with an_api(rails, tmp_path, redis_url) as owner:
        stranger_id = a_workspace(rails)
        uploaded = owner.upload(a_pdf("one"), name="secret.pdf").json()
        documents = [
            UUID(uploaded["document_id"]),
            a_ready_document(rails, ["The secret mill."], content=b"1", blob_key=f"{WORKSPACE}/1"),
            a_failed_document(rails, content=b"2", blob_key=f"{WORKSPACE}/2"),
            an_indexing_document(rails, ["Another secret."], content=b"3", blob_key=f"{WORKSPACE}/3").id,
        ]
        a_pending_job(rails, workspace_id=WORKSPACE)
        tasks = rails.column("SELECT id FROM jobs ORDER BY id")
        yield Neighbours(rails, owner, owner.as_workspace(rails, stranger_id), stranger_id, documents, tasks)


@pytest.fixture
def without_filters() -> Iterator[None]:
    """Forget the workspace in every statement, as a careless change might."""
    names = [entry.name.removesuffix(".sql") for entry in files("adapters.postgres.sql").iterdir()]
    aggregates = [load_queries(name) for name in names if name not in ("__init__.py", "__pycache__", "idempotency")]
    before = [dict(queries) for queries in aggregates]
    changed = 0
    for queries in aggregates:
        for name, query in queries.items():
            queries[name], found = _FILTER.subn("true", query)  # type: ignore[assignment]
            changed += found
    assert changed > 20
    try:
        yield
    finally:
        for queries, old in zip(aggregates, before, strict=True):
            queries.update(old)  # type: ignore[arg-type]


def every_call(neighbours: Neighbours) -> Iterator[tuple[str, str, Any]]:
    """Make every call that there is with the stranger's key, about everything that the owner has."""
    for path, operations in neighbours.owner.app.openapi()["paths"].items():
        if path in ENDLESS:
            continue
        # What ends or begins something comes last, in both runs: what is deleted cannot be found by accident.
        for method in sorted(operations, key=["get", "post", "put", "delete"].index):
            ids = neighbours.documents if "{document_id}" in path else neighbours.tasks if "{task_id}" in path else [""]
            for item in ids:
                filled = re.sub(r"\{(document|task)_id\}", str(item), path).replace("{number}", "1")
                if "{" not in filled:
                    yield method.upper(), path, call(neighbours.stranger, method.upper(), filled)


def call(api: Api, method: str, path: str) -> Any:
    if path.endswith(("/file", "/batch")) and method != "GET":
        return api.upload(a_pdf("stranger"), path=path) if method == "PUT" else api.request(
            method, path, files=[("file", ("s.pdf", a_pdf("stranger")))])  # fmt: skip
    if path == "/documents" and method == "POST":
        return api.upload(a_pdf("stranger"))
    if path == "/search":
        return api.post(path, json={"query": "secret mill"})
    return api.request(method, path)


def assert_nothing_is_shown_or_changed(neighbours: Neighbours) -> None:
    before = neighbours.state()
    secrets = [str(each) for each in (*neighbours.documents, *neighbours.tasks)]
    about_others = 0

    for method, path, answer in every_call(neighbours):
        assert answer.status_code < 500, (method, path, answer.text)
        if "{document_id}" in path or "{task_id}" in path:
            about_others += 1
            assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
        elif method == "GET" or path == "/search":
            assert not [each for each in secrets if each in answer.text], (method, path, answer.text)
            assert "secret" not in answer.text.replace("secret mill", ""), (method, path)

    assert about_others > 60
    assert neighbours.state() == before


def test_no_route_shows_or_changes_anything_of_another_workspace(neighbours: Neighbours) -> None:
    assert_nothing_is_shown_or_changed(neighbours)


def test_neither_does_one_whose_statements_forgot_the_workspace(neighbours: Neighbours, without_filters: None) -> None:
    reading = WorkspaceReading(neighbours.rails.pool, neighbours.stranger_id)
    assert reading.document(neighbours.documents[0]), "the statements still have their filters"

    assert_nothing_is_shown_or_changed(neighbours)


def test_a_key_of_one_workspace_is_not_the_same_key_of_another(neighbours: Neighbours) -> None:
    headers = {"Idempotency-Key": "same"}
    ours = neighbours.owner.upload(a_pdf("key"), headers=headers)
    theirs = neighbours.stranger.upload(a_pdf("key"), headers=headers)

    assert ours.status_code == theirs.status_code == 202
    assert ours.json()["document_id"] != theirs.json()["document_id"]


# The wall itself


def test_every_table_with_a_workspace_is_behind_the_wall(rails: Rails) -> None:
    open_tables = rails.column(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        " AND a.attname IN ('workspace_id', 'document_id', 'job_id') AND NOT a.attisdropped AND NOT c.relrowsecurity"
        " AND (has_table_privilege('headrace_api', c.oid, 'SELECT, INSERT, UPDATE, DELETE')"
        "      OR a.attname = 'workspace_id')"
    )

    assert open_tables == []


def test_the_api_cannot_read_keys_at_all(rails: Rails) -> None:
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        WorkspacePool(rails.pool, WORKSPACE).connection() as connection,
    ):
        connection.execute("SELECT * FROM api_keys")


def test_rows_of_another_workspace_cannot_be_written(rails: Rails) -> None:
    pool = WorkspacePool(rails.pool, a_workspace(rails))
    statement = "INSERT INTO job_events (job_id, workspace_id, event) VALUES (gen_random_uuid(), %s, 'x')"

    with pytest.raises(psycopg.errors.InsufficientPrivilege), pool.connection() as connection:
        connection.execute(statement, [WORKSPACE])


def test_the_rights_are_back_after_the_transaction(rails: Rails) -> None:
    with WorkspacePool(rails.pool, WORKSPACE).connection() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("headrace_api",)

    with rails.pool.connection() as connection:
        row = connection.execute("SELECT current_user <> 'headrace_api', current_workspace()").fetchone()
        assert row == (True, None)


def test_without_a_workspace_nothing_is_seen(rails: Rails) -> None:
    a_ready_document(rails)

    with rails.pool.connection() as connection, connection.transaction():
        connection.execute("SET LOCAL ROLE headrace_api")
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)


# Owners who are no superusers


@pytest.fixture
def owner_url(empty_database_url: str) -> Iterator[str]:
    """An empty database with pgvector, and a role that owns it and nothing else."""
    role = f"headrace_test_owner_{uuid4().hex[:8]}"
    with psycopg.connect(empty_database_url, autocommit=True) as server:
        server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        server.execute("CREATE EXTENSION IF NOT EXISTS vector")
        server.execute(f"GRANT ALL ON SCHEMA public TO {role}")
        try:
            yield empty_database_url.replace("://postgres@", f"://{role}:x@", 1)
        finally:
            server.execute(f"DROP OWNED BY {role} CASCADE")
            server.execute(f"REVOKE headrace_api FROM {role}")
            server.execute(f"DROP ROLE {role}")


def test_an_owner_who_may_not_become_the_api_is_told_what_to_do(owner_url: str, rails: Rails) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="may not become headrace_api") as caught:
        migrate(owner_url)

    assert "GRANT headrace_api TO" in str(caught.value.diag.message_hint)


def test_an_owner_who_is_no_superuser_sees_everything_and_the_api_its_workspace(
    owner_url: str, empty_database_url: str
) -> None:
    role = urlsplit(owner_url).username
    with psycopg.connect(empty_database_url, autocommit=True) as server:
        server.execute("DO $$ BEGIN CREATE ROLE headrace_api NOLOGIN; EXCEPTION WHEN OTHERS THEN NULL; END $$")
        server.execute(f"GRANT headrace_api TO {role}")
    migrate(owner_url)
    pool = LazyPool(owner_url, size=2)

    with pool.connection() as connection:
        rails = Rails(owner_url, pool, connection)
        ours, theirs = a_ready_document(rails, content=b"1"), a_ready_document(
            rails, content=b"2", workspace_id=(other := a_workspace(rails)))  # fmt: skip
        assert rails.count("documents") == 2
    for workspace_id, document_id in ((WORKSPACE, ours), (other, theirs)):
        with WorkspacePool(pool, workspace_id).connection() as connection:
            assert connection.execute("SELECT id FROM documents").fetchall() == [(document_id,)]
    pool.close()
