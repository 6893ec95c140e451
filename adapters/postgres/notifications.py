"""Notifications and preferences in Postgres."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import held
from domain.crash_points import crash_point
from domain.errors import PermanentError
from domain.jobs import Lease
from domain.notifications import Notification, NotificationReport, Preference, Seen, Way

_NOTIFICATIONS = load_queries("notifications")

Row = dict[str, Any]

#: Why nothing is mailed where there is no mailer.
NO_MAIL = "email_unavailable: this installation sends no mail"

MOST_PREFERENCES = 1_000


class LentPool(LazyPool):
    """A pool of the one connection whose transaction is open: what borrows from it commits with that."""

    def __init__(self, connection: Connection) -> None:
        self._lent = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend the connection."""
        yield self._lent


#: Puts in the job `send_single_email` for a notification. Raises PermanentError or ValueError when that cannot be.
Mailer = Callable[[LazyPool, Notification, str], object]


class PostgresNotifications:
    """See domain.notifications.Notifications."""

    def __init__(self, pool: LazyPool, mailer: Mailer | None = None) -> None:
        """`mailer`: puts in a mail within the transaction that it is lent; None where mail is not served."""
        self._pool = pool
        self._mailer = mailer

    def add(self, notification: Notification, lease: Lease) -> NotificationReport:
        """See the port."""
        with held(self._pool, lease) as connection:
            report = self._add(connection, notification, lease)
            PostgresJobs(connection, lease).finish()
            crash_point("before_notification_commits")
        lease.settled = True
        return report

    def _add(self, connection: Connection, notification: Notification, lease: Lease) -> NotificationReport:
        ids = {"workspace_id": notification.workspace_id, "user": notification.user}
        wish = connection.execute(_NOTIFICATIONS["preference"], ids).fetchone()
        kinds, address, webhook = wish or ((), None, False)
        is_wanted = not kinds or notification.kind in kinds
        told = NotificationReport(uuid4(), is_new=True, webhook=Way.QUEUED if webhook and is_wanted else Way.OFF)
        if not connection.execute(_NOTIFICATIONS["add_notification"], _row(notification, told, lease)).rowcount:
            return replace(told, is_new=False, webhook=Way.OFF)
        connection.execute(_NOTIFICATIONS["note_notification"], {"id": told.notification_id, "job_id": lease.job_id})
        if told.webhook is Way.QUEUED:
            connection.execute(_NOTIFICATIONS["announce_notification"], {"id": told.notification_id})
        if address is None or not is_wanted:
            return told
        told = self._mail_it(connection, notification, address, told)
        mailed = {"id": told.notification_id, "email": told.email, "note": told.note}
        connection.execute(_NOTIFICATIONS["note_mail"], mailed)
        return told

    def _mail_it(
        self, connection: Connection, notification: Notification, address: str, told: NotificationReport
    ) -> NotificationReport:
        """Put the mail in, in the notification's own transaction. That it cannot be mailed here stops nothing."""
        if self._mailer is None:
            return replace(told, email=Way.UNAVAILABLE, note=NO_MAIL)
        try:
            with connection.transaction():
                self._mailer(LentPool(connection), notification, address)
        except PermanentError as error:
            return replace(told, email=Way.UNAVAILABLE, note=f"{error.code}: {error.message}"[:500])
        except ValueError as error:  # what a port calls invalid
            return replace(told, email=Way.UNAVAILABLE, note=f"email_refused: {error}"[:500])
        return replace(told, email=Way.QUEUED)


def _row(notification: Notification, told: NotificationReport, lease: Lease) -> Row:
    return asdict(notification) | {
        "id": told.notification_id,
        "dedup_key": notification.dedup_key or f"job:{lease.job_id}",
        "webhook": told.webhook,
    }


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
