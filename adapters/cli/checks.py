"""What `headrace doctor` looks at: one function a thing, each yields what it found and what to do."""

import errno
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Any, LiteralString
from uuid import uuid4

import psycopg

from adapters.bootstrap import make_blobs
from adapters.cli.programs import DEFAULT_THREADS
from adapters.embeddings.provider import make_embedder
from adapters.postgres.dispatch import RELAY_LOCK
from adapters.postgres.migrate import check_schema
from adapters.postgres.pool import Connection, connect
from adapters.postgres.sql import load_queries
from adapters.postgres.vector_index import has_vector_index
from adapters.settings import Settings
from domain.errors import HeadraceError, SchemaError

POSTGRES_VERSION, PGVECTOR_VERSION, REDIS_VERSION = (15,), (0, 8, 4), (7,)
CLOCK_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
#: Each worker process holds these besides its pool: one for leases, one for the relay.
OWN_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. `verdict`: ok, warn or fail; `advice`: what to do about it."""

    name: str
    verdict: str
    detail: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def check_postgres(settings: Settings) -> Iterator[Finding]:
    """Look at server, extension, schema, vector index, clock and connections."""
    if settings.is_sqlite:
        yield Finding("postgres", "fail", "DATABASE_URL names a SQLite file", "workers need postgresql://")
        return
    try:
        with closing(connect(settings.database_url.get_secret_value())) as connection:
            yield _postgres_version(connection)
            yield _pgvector_version(connection)
            yield from _schema(connection, settings)
            yield _clock(connection)
            yield _connections(connection, settings)
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding("postgres", "fail", reason, "start it, or check DATABASE_URL")


def _postgres_version(connection: Connection) -> Finding:
    version = connection.info.server_version // 10_000
    wanted = POSTGRES_VERSION[0]
    if version < wanted:
        return Finding("postgres", "fail", f"version {version}", f"upgrade to PostgreSQL {wanted} or newer")
    return Finding("postgres", "ok", f"version {version}")


def _pgvector_version(connection: Connection) -> Finding:
    row = connection.execute(
        "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if row is None:
        return Finding("pgvector", "fail", "is not on the server", "install pgvector there, or use pgvector/pgvector")
    available, installed = row
    if installed is None:
        return Finding("pgvector", "fail", "is not in the database", "run `headrace migrate`")
    wanted = ".".join(map(str, PGVECTOR_VERSION))
    if _numbers(installed) >= PGVECTOR_VERSION:
        return Finding("pgvector", "ok", f"version {installed}")
    if _numbers(available) >= PGVECTOR_VERSION:
        return Finding("pgvector", "warn", f"version {installed}", "run: ALTER EXTENSION vector UPDATE")
    return Finding("pgvector", "warn", f"version {installed}", f"upgrade to {wanted}: older ones have known faults")


def _schema(connection: Connection, settings: Settings) -> Iterator[Finding]:
    try:
        check_schema(connection)
    except SchemaError as error:
        yield Finding("schema", "fail", str(error), "run `headrace migrate`")
        return
    yield Finding("schema", "ok", "is this version's")
    yield _workers(connection)
    try:
        embedder = make_embedder(settings)
    except HeadraceError:
        return  # check_embedder says why
    if has_vector_index(connection, embedder.model, embedder.dimensions):
        yield Finding("vector index", "ok", f"for {embedder.model}")
    else:
        yield Finding("vector index", "warn", f"none for {embedder.model}: searches are slow", "run `headrace migrate`")


def _workers(connection: Connection) -> Finding:
    row = connection.execute(load_queries("documents")["relay_leads"], {"lock": RELAY_LOCK}).fetchone()
    if row and row[0]:
        return Finding("workers", "ok", "at least one process takes jobs")
    return Finding("workers", "warn", "none takes jobs", "start `headrace up` or `headrace worker`")


def _clock(connection: Connection) -> Finding:
    before = datetime.now(UTC)
    theirs: datetime = _value(connection, "SELECT clock_timestamp()")
    skew = abs((theirs - before - (datetime.now(UTC) - before) / 2).total_seconds())
    if skew > CLOCK_SECONDS:
        return Finding("clock", "warn", f"{skew:.1f} s apart from the database's", "let NTP set both")
    return Finding("clock", "ok", f"{skew * 1000:.0f} ms apart from the database's")


def _connections(connection: Connection, settings: Settings) -> Finding:
    most = int(_value(connection, "SELECT current_setting('max_connections')"))
    open_now = int(_value(connection, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    per_process = settings.database_pool_size + OWN_CONNECTIONS
    detail = f"{open_now} of {most} in use; a worker process takes up to {per_process}"
    if open_now + per_process > most:
        return Finding("connections", "fail", detail, "raise max_connections, or run fewer processes")
    if settings.database_pool_size < DEFAULT_THREADS:
        return Finding(
            "connections",
            "warn",
            f"pool of {settings.database_pool_size} for {DEFAULT_THREADS} threads",
            "threads will wait for each other: raise DATABASE_POOL_SIZE to the number of threads",
        )
    return Finding("connections", "ok", detail)


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Look at the doorbell."""
    import redis

    url = settings.redis_url.get_secret_value()
    with redis.Redis.from_url(
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=None
    ) as client:
        try:
            information: dict[str, Any] = client.info()
        except (redis.RedisError, OSError) as error:
            yield Finding("redis", "fail", f"does not answer: {type(error).__name__}", "start it, or check REDIS_URL")
            return
    yield _redis_version(information)
    policy = information.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or not information.get("maxmemory"):
        yield Finding("redis memory", "ok", f"policy {policy}, no job depends on it")
    else:
        advice = "hints may be evicted and are rung again seconds later: set maxmemory-policy noeviction"
        yield Finding("redis memory", "warn", f"policy {policy}", advice)


def _redis_version(information: dict[str, Any]) -> Finding:
    name = "valkey" if "valkey_version" in information else "redis"
    version = str(information.get("valkey_version") or information.get("redis_version", "0"))
    if _numbers(version) < REDIS_VERSION:
        return Finding("redis", "fail", f"{name} {version}", "upgrade to Redis 7 or Valkey 7.2 or newer (BLMPOP)")
    return Finding("redis", "ok", f"{name} {version}")


def check_blobs(settings: Settings) -> Iterator[Finding]:
    """Write, read and delete a blob."""
    key, content = f"doctor/{uuid4()}", b"headrace doctor"
    try:
        blobs = make_blobs(settings)
        blobs.put(key, [content])
        with blobs.local_file(key) as file:
            is_same = file.read_bytes() == content
        blobs.delete(key)
    except (HeadraceError, OSError) as error:
        yield Finding("blobs", "fail", str(error), "check BLOB_URL and its credentials")
        return
    if is_same:
        yield Finding("blobs", "ok", f"written, read and deleted in {settings.blob_url}")
    else:
        yield Finding("blobs", "fail", "what was read is not what was written", "check the store behind BLOB_URL")


def check_embedder(settings: Settings) -> Iterator[Finding]:
    """Embed two words."""
    began = time.monotonic()
    try:
        embedder = make_embedder(settings)
        vectors = embedder.embed(["mill wheel"]).vectors
    except HeadraceError as error:
        yield Finding("embeddings", "fail", str(error), "check EMBEDDING_PROVIDER, OPENAI_BASE_URL and OPENAI_API_KEY")
        return
    took = time.monotonic() - began
    yield Finding("embeddings", "ok", f"{embedder.model} answers with {vectors.shape[1]} dimensions in {took:.1f} s")


def check_metrics_port(settings: Settings) -> Iterator[Finding]:
    """See whether the exporter can listen, or does already."""
    if not settings.metrics_port:
        yield Finding("metrics", "ok", "turned off")
        return
    host, port = settings.metrics_host, settings.metrics_port
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            yield _who_listens(place, _health(host, port), error)
            return
    yield Finding("metrics", "ok", f"{place} is free; the workers' exporter will listen there")


def _who_listens(place: str, health: str, refusal: OSError) -> Finding:
    if health == "alive":
        return Finding("metrics", "ok", f"an exporter listens on {place}")
    if health == "stuck":
        detail = f"the exporter on {place} sees a worker process that makes no progress"
        return Finding("metrics", "fail", detail, "look into the workers' logs, then restart them")
    if refusal.errno == errno.EADDRINUSE:
        return Finding("metrics", "warn", f"{place} is taken by something else", "set METRICS_PORT to a free port")
    reason = refusal.strerror or str(refusal)
    return Finding("metrics", "warn", f"nobody can listen on {place}: {reason}", "check METRICS_HOST and METRICS_PORT")


def _health(host: str, port: int) -> str:
    """Ask an exporter how its workers are, past any proxy; empty when none answers."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return str(json.loads(connection.getresponse().read(10_000))["status"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return ""
    finally:
        connection.close()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _value(connection: Connection, query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
