"""Webhook endpoints and their deliveries."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import hold
from domain.jobs import Lease
from domain.webhook_delivery import Answer, Delivery
from domain.webhooks import DeliveryState, NewEndpoint

_WEBHOOKS = load_queries("webhooks")

Row = dict[str, Any]

#: Waiting deliveries that each success calls: one takes its place, one more lets a recovered endpoint catch up.
CALLED = 2

#: Deliveries that one call of `replay` takes on.
REPLAY_LIMIT = 1000


class PostgresEndpoints:
    """See domain.webhooks.Endpoints."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def add(self, endpoint: NewEndpoint, secret: bytes, *, limit: int) -> bool:
        """See the port."""
        params = {
            "id": endpoint.id,
            "workspace_id": endpoint.workspace_id,
            "url": endpoint.url,
            "events": [str(event) for event in endpoint.events],
            "description": endpoint.description,
        }
        with self._pool.connection() as connection, connection.transaction():
            connection.execute(_WEBHOOKS["lock_endpoints"], params)
            row = connection.execute(_WEBHOOKS["count_endpoints"], params).fetchone()
            if row is None or row[0] >= limit:
                return False
            connection.execute(_WEBHOOKS["add_endpoint"], params)
            connection.execute(_WEBHOOKS["add_secret"], {"id": endpoint.id, "secret": secret})
            return True

    def rotate(self, endpoint_id: UUID, workspace_id: UUID, secret: bytes, *, grace: timedelta, keep: int) -> bool:
        """See the port."""
        ids = {"id": endpoint_id, "workspace_id": workspace_id}
        with self._pool.connection() as connection, connection.transaction():
            if connection.execute(_WEBHOOKS["hold_endpoint"], ids).fetchone() is None:
                return False
            connection.execute(_WEBHOOKS["expire_secrets"], {"id": endpoint_id, "grace": grace, "keep": keep})
            connection.execute(_WEBHOOKS["add_secret"], {"id": endpoint_id, "secret": secret})
            return True

    def enable(self, endpoint_id: UUID, workspace_id: UUID) -> bool:
        """See the port."""
        return self._change("enable_endpoint", {"id": endpoint_id, "workspace_id": workspace_id})

    def disable(self, endpoint_id: UUID, workspace_id: UUID, reason: str) -> bool:
        """See the port."""
        return self._change("disable_endpoint", {"id": endpoint_id, "workspace_id": workspace_id, "reason": reason})

    def delete(self, endpoint_id: UUID, workspace_id: UUID) -> bool:
        """See the port."""
        return self._change("delete_endpoint", {"id": endpoint_id, "workspace_id": workspace_id})

    def _change(self, query: str, params: Row) -> bool:
        with self._pool.connection() as connection:
            return bool(connection.execute(_WEBHOOKS[query], params).rowcount)


class PostgresDeliveries:
    """See domain.webhook_delivery.Deliveries."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def begin(self, delivery_id: UUID, workspace_id: UUID, lease: Lease) -> Delivery | None:
        """See the port."""
        params = {"id": delivery_id, "workspace_id": workspace_id, "job_id": lease.job_id}
        with self._held(lease) as connection, connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_WEBHOOKS["begin_delivery"], params).fetchone()
        return Delivery(**row | {"paused": row["paused"] or timedelta()}) if row else None

    def succeed(self, delivery: Delivery, answer: Answer, lease: Lease) -> None:
        """See the port."""
        with self._held(lease) as connection:
            connection.execute(_WEBHOOKS["succeed_delivery"], _attempt(delivery, answer))
            connection.execute(_WEBHOOKS["call_next"], {"endpoint_id": delivery.endpoint_id, "limit": CALLED})
            PostgresJobs(connection, lease).finish()
        lease.settled = True

    def fail(self, delivery: Delivery, answer: Answer, lease: Lease, *, is_final: bool, pause: timedelta) -> timedelta:
        """See the port."""
        params = _attempt(delivery, answer) | {"error": answer.error, "is_final": is_final, "pause": pause}
        with self._held(lease) as connection:
            connection.execute(_WEBHOOKS["fail_delivery"], params)
            row = connection.execute(_WEBHOOKS["failing_for"], {"endpoint_id": delivery.endpoint_id}).fetchone()
        return row[0] if row else timedelta()

    def discard(self, delivery: Delivery, reason: str, lease: Lease) -> None:
        """See the port."""
        with self._held(lease) as connection:
            connection.execute(_WEBHOOKS["discard_delivery"], {"id": delivery.id, "reason": reason})
            PostgresJobs(connection, lease).finish()
        lease.settled = True

    def disable(self, delivery: Delivery, reason: str, lease: Lease) -> None:
        """See the port."""
        params = {"endpoint_id": delivery.endpoint_id, "reason": reason, "job_id": lease.job_id}
        with self._held(lease) as connection:
            connection.execute(_WEBHOOKS["disable_failing_endpoint"], params)

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[Connection]:
        with self._pool.connection() as connection, connection.transaction():
            hold(connection, lease)
            yield connection


def _attempt(delivery: Delivery, answer: Answer) -> Row:
    """Name an attempt by the number of those before it: written twice, it counts once."""
    ids = {"id": delivery.id, "endpoint_id": delivery.endpoint_id}
    return ids | {"attempts": delivery.attempts, "status": answer.status}


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are meant: all of what is given must fit."""

    ids: tuple[UUID, ...] = ()
    endpoint_id: UUID | None = None
    states: tuple[DeliveryState, ...] = ()
    newer_than: timedelta | None = None


class WebhookSearch:
    """What people see of endpoints and deliveries, as rows by name, and what they have delivered again."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def endpoints(self, workspace_id: UUID) -> list[Row]:
        """Return the endpoints of a workspace, the oldest first."""
        return self._rows(_WEBHOOKS["list_endpoints"], {"workspace_id": workspace_id, "id": None})

    def endpoint(self, endpoint_id: UUID, workspace_id: UUID) -> Row | None:
        """Return one endpoint of a workspace."""
        rows = self._rows(_WEBHOOKS["list_endpoints"], {"workspace_id": workspace_id, "id": endpoint_id})
        return rows[0] if rows else None

    def deliveries(
        self,
        workspace_id: UUID,
        *,
        endpoint_id: UUID | None = None,
        state: DeliveryState | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 20,
    ) -> list[Row]:
        """Return the newest deliveries that fit; `before`: creation and id of the last one seen."""
        params = {"workspace_id": workspace_id, "endpoint_id": endpoint_id, "id": None, "limit": limit}
        place = {"before": before[0] if before else None, "before_id": before[1] if before else None}
        return self._rows(_WEBHOOKS["list_deliveries"], params | place | {"state": str(state) if state else None})

    def delivery(self, delivery_id: UUID, workspace_id: UUID) -> Row | None:
        """Return one delivery of a workspace."""
        params = {"workspace_id": workspace_id, "endpoint_id": None, "id": delivery_id, "state": None}
        rows = self._rows(_WEBHOOKS["list_deliveries"], params | {"before": None, "before_id": None, "limit": 1})
        return rows[0] if rows else None

    def replay(self, workspace_id: UUID, which: DeliveryFilter, *, limit: int = REPLAY_LIMIT) -> Sequence[Row]:
        """Deliver what fits again, the oldest first; return deliveries and jobs.

        Nothing happens to what belongs to a disabled endpoint.
        """
        params = {
            "workspace_id": workspace_id,
            "ids": list(which.ids) or None,
            "endpoint_id": which.endpoint_id,
            "states": [str(state) for state in which.states] or None,
            "newer_than": which.newer_than,
            "limit": limit,
        }
        return self._rows(_WEBHOOKS["replay_deliveries"], params)

    def _rows(self, query: LiteralString, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()
