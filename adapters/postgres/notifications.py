"""Notifications and preferences in Postgres."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from adapters.postgres.jobs import PostgresJobs, named_job
from adapters.postgres.ledger import NewJob, enqueue_in
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import held
from domain.errors import InvalidJobError, JobUnavailableError
from domain.jobs import Lease
from domain.notifications import Notification, NotificationReport, Preference, Seen, Way

_NOTIFICATIONS = load_queries("notifications")

Row = dict[str, Any]

MAIL_JOB = "email:send"

MOST_PREFERENCES = 1_000


class PostgresNotifications:
    """See domain.notifications.Notifications."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def add(self, notification: Notification, lease: Lease) -> NotificationReport:
        """See the port."""
        with held(self._pool, lease) as connection:
            report = _add(connection, notification, lease)
            PostgresJobs(connection, lease).finish()
        lease.settled = True
        return report


def _add(connection: Connection, notification: Notification, lease: Lease) -> NotificationReport:
    ids = {"workspace_id": notification.workspace_id, "user": notification.user}
    wish = connection.execute(_NOTIFICATIONS["preference"], ids).fetchone()
    kinds, address, webhook = wish or ((), None, False)
    is_wanted = not kinds or notification.kind in kinds
    mail, email, note = _mail(notification, address if is_wanted else None)
    told = NotificationReport(
        uuid4(), is_new=True, email=email, webhook=Way.QUEUED if webhook and is_wanted else Way.OFF, note=note
    )
    row = asdict(notification) | {
        "id": told.notification_id,
        "dedup_key": notification.dedup_key or f"job:{lease.job_id}",
        "email": told.email,
        "webhook": told.webhook,
        "note": told.note,
    }
    if not connection.execute(_NOTIFICATIONS["add_notification"], row).rowcount:
        return NotificationReport(told.notification_id, is_new=False)
    connection.execute(_NOTIFICATIONS["note_notification"], {"id": told.notification_id, "job_id": lease.job_id})
    if mail is not None:
        enqueue_in(connection, mail)
    if told.webhook is Way.QUEUED:
        connection.execute(_NOTIFICATIONS["announce_notification"], {"id": told.notification_id})
    return told


def _mail(notification: Notification, address: str | None) -> tuple[NewJob | None, Way, str | None]:
    """Build the job that mails it: with what became of this way, and why if it cannot be gone here."""
    if address is None:
        return None, Way.OFF, None
    params = {
        "workspace_id": notification.workspace_id,
        "to": address,
        "subject": " ".join(notification.title.split()),
        "text": notification.body or notification.title,
    }
    try:
        return named_job(MAIL_JOB, params), Way.QUEUED, None
    except JobUnavailableError as error:
        return None, Way.UNAVAILABLE, f"email_unavailable: {error}"
    except InvalidJobError as error:
        return None, Way.UNAVAILABLE, f"email_refused: {error}"


class NotificationDesk:
    """What people see and change of notifications and preferences, as rows by name."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def list(
        self,
        workspace_id: UUID,
        *,
        user: str | None = None,
        unread: bool = False,
        before: Seen | None = None,
        limit: int = 20,
    ) -> Sequence[Row]:
        """Return the latest notifications, behind a place."""
        place = {"before": before.created_at if before else None, "before_id": before.id if before else None}
        params = {"workspace_id": workspace_id, "id": None, "user": user, "unread": unread, "limit": limit}
        return self._rows("list_notifications", params | place)

    def read(self, workspace_id: UUID, *, notification_id: UUID | None = None, user: str | None = None) -> int:
        """Mark one notification, or all of a user, as read; return how many were not."""
        params = {"workspace_id": workspace_id, "id": notification_id, "user": user}
        with self._pool.connection() as connection:
            return connection.execute(_NOTIFICATIONS["read_notifications"], params).rowcount

    def find(self, workspace_id: UUID, notification_id: UUID) -> Row | None:
        """Return one notification."""
        params = {"workspace_id": workspace_id, "id": notification_id, "user": None, "unread": False, "limit": 1}
        rows = self._rows("list_notifications", params | {"before": None, "before_id": None})
        return rows[0] if rows else None

    def preferences(self, workspace_id: UUID, *, user: str | None = None) -> Sequence[Row]:
        """Return what users wish, one's or everybody's."""
        return self._rows("list_preferences", {"workspace_id": workspace_id, "user": user, "limit": MOST_PREFERENCES})

    def prefer(self, workspace_id: UUID, preference: Preference) -> None:
        """Keep what a user wishes. Raises InvalidJobError."""
        preference.check()
        params = {
            "workspace_id": workspace_id,
            "user": preference.user,
            "kinds": list(preference.kinds),
            "email": preference.email,
            "webhook": preference.webhook,
        }
        with self._pool.connection() as connection:
            connection.execute(_NOTIFICATIONS["set_preference"], params)

    def forget(self, workspace_id: UUID, user: str) -> bool:
        """Forget what a user wished."""
        params = {"workspace_id": workspace_id, "user": user}
        with self._pool.connection() as connection:
            return bool(connection.execute(_NOTIFICATIONS["delete_preference"], params).rowcount)

    def _rows(self, query: str, params: Row) -> Sequence[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_NOTIFICATIONS[query], params).fetchall()
