"""Answers to probes. Readiness asks Postgres and Redis; liveness asks neither."""

from pathlib import Path
from typing import Any

import psycopg
import redis

from adapters.exporter.folder import live_workers, stuck_workers
from adapters.postgres.migrate import check_schema
from adapters.settings import Settings
from domain.errors import SchemaError

PROBE_TIMEOUT_SECONDS = 2


def readiness_payload(settings: Settings) -> dict[str, Any]:
    """Return `{"status": "ready" | "unavailable", "db": …, "redis": …}`; each part is "ok" or says what is wrong."""
    parts = {"db": _check_database(settings), "redis": _check_redis(settings)}
    status = "ready" if set(parts.values()) == {"ok"} else "unavailable"
    return {"status": status, **parts}


def liveness_payload(folder: Path) -> dict[str, Any]:
    """Return `{"status": "alive" | "stuck", "workers": n, "stuck": [pid, …]}`."""
    stuck = stuck_workers(folder)
    return {"status": "stuck" if stuck else "alive", "workers": len(live_workers(folder)), "stuck": stuck}


def _check_database(settings: Settings) -> str:
    try:
        with psycopg.connect(
            settings.database_url.get_secret_value(), connect_timeout=PROBE_TIMEOUT_SECONDS, autocommit=True
        ) as connection:
            connection.execute(f"SET statement_timeout = '{PROBE_TIMEOUT_SECONDS}s'")
            check_schema(connection)
    except SchemaError as error:
        return str(error)
    except psycopg.Error as error:
        return f"unreachable: {type(error).__name__}"
    return "ok"


def _check_redis(settings: Settings) -> str:
    client = redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=PROBE_TIMEOUT_SECONDS,
        socket_connect_timeout=PROBE_TIMEOUT_SECONDS,
        retry=None,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        return f"unreachable: {type(error).__name__}"
    finally:
        client.close()
    return "ok"
