"""Mailings, their recipients, the suppression list, and the pace at which mail leaves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import enqueue_in
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import hold
from domain.jobs import JobState, Lease
from domain.mail import Attachment, InDoubt, Letter, MailingReceipt, NewMailing, NewRecipient, RecipientState
from domain.mailings import WHOLE_DEPLOYMENT, Answer, Mailing, Mark, Pace, Recipient, Result, Standing

_MAIL = load_queries("mail")

Row = dict[str, Any]


class PostgresMailingIntake:
    """See domain.mail.MailingIntake."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def add(self, mailing: NewMailing, confirm: Callable[[MailingReceipt], None]) -> MailingReceipt:
        """See the port."""
        recipients = _each_once(mailing.recipients)
        ids = {"mailing_id": mailing.id, "workspace_id": mailing.workspace_id}
        receipt = MailingReceipt(mailing.id, len(recipients))
        with self._pool.connection() as connection, connection.transaction():
            enqueue_in(connection, named_job(mailing.job, ids, job_id=mailing.id))
            connection.execute(_MAIL["add_mailing"], _mailing_row(mailing, total=len(recipients)))
            rows = [asdict(each) | {"number": number} for number, each in enumerate(recipients, 1)]
            connection.execute(_MAIL["add_recipients"], {"mailing_id": mailing.id, "recipients": Jsonb(rows)})
            confirm(receipt)
        return receipt


class PostgresMailings:
    """See domain.mailings.Mailings. Whoever writes holds the job first, so that nobody waits in a circle."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def begin(self, mailing_id: UUID, workspace_id: UUID, lease: Lease) -> Mailing | None:
        """See the port."""
        if lease.job_id != mailing_id:  # only the job that came with it: two at once would send everything twice
            return None
        ids = {"id": mailing_id, "workspace_id": workspace_id}
        with self._held(lease) as connection, connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_MAIL["begin_mailing"], ids).fetchone()
            if row is None:
                return None
            settled = cursor.execute(_MAIL["settle_doubts"], ids).fetchone() or {"doubts": 0}
            cursor.execute(_MAIL["ensure_paces"], {"scopes": [WHOLE_DEPLOYMENT, mailing_id]})
        return _mailing(row, doubts=settled["doubts"])

    def next_due(self, mailing: Mailing) -> Recipient | None:
        """See the port."""
        rows = self._rows(_MAIL["next_due"], {"mailing_id": mailing.id, "workspace_id": mailing.workspace_id})
        return Recipient(**rows[0]) if rows else None

    def take_turn(self, paces: Sequence[Pace], patience: timedelta) -> tuple[bool, timedelta]:
        """See the port."""
        params = {
            "scopes": [pace.scope for pace in paces],
            "spacings": [pace.spacing for pace in paces],
            "patience": patience,
        }
        (row,) = self._rows(_MAIL["take_turn"], params)
        return row["is_taken"], row["wait"]

    def mark_sending(self, mailing: Mailing, recipient: Recipient, lease: Lease) -> Mark:
        """See the port."""
        with self._held(lease) as connection:
            row = connection.execute(_MAIL["mark_sending"], _place(mailing, recipient, lease)).fetchone()
        return Mark(row[0]) if row else Mark.GONE

    def settle(
        self,
        mailing: Mailing,
        recipient: Recipient,
        lease: Lease,
        answer: Answer,
        *,
        state: RecipientState,
        wait: timedelta,
    ) -> None:
        """See the port. A stale attempt that has sent its mail may still say so, until another one takes it."""
        params = _place(mailing, recipient, lease) | {
            "state": str(state),
            "code": answer.code,
            "error": answer.error,
            "wait": wait,
            "is_in_doubt": answer.result is Result.IN_DOUBT,
            "has_answer": answer.code is not None,
        }
        with self._pool.connection() as connection, connection.transaction():
            connection.execute(_MAIL["hold_mail_job"], {"id": mailing.id})
            connection.execute(_MAIL["settle_recipient"], params)
            connection.execute(_MAIL["note_progress"], {"id": mailing.id, "lease": lease.number})

    def take_back(self, mailing: Mailing, recipient: Recipient, lease: Lease) -> None:
        """See the port."""
        with self._pool.connection() as connection:
            connection.execute(_MAIL["take_back"], _place(mailing, recipient, lease))

    def note_outage(self, mailing: Mailing) -> timedelta:
        """See the port."""
        rows = self._rows(_MAIL["note_outage"], {"id": mailing.id})
        return rows[0]["away"] if rows else timedelta()

    def forget_outage(self, mailing: Mailing) -> None:
        """See the port."""
        with self._pool.connection() as connection:
            connection.execute(_MAIL["forget_outage"], {"id": mailing.id})

    def standing(self, mailing: Mailing) -> Standing:
        """See the port."""
        (row,) = self._rows(_MAIL["standing"], {"id": mailing.id})
        return Standing(**row)

    def _rows(self, query: LiteralString, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[Connection]:
        with self._pool.connection() as connection, connection.transaction():
            hold(connection, lease)
            yield connection


class MailDesk:
    """What people see of mailings of their workspace and do about them, as rows by name."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def mailing(self, task_id: UUID, workspace_id: UUID) -> Row | None:
        """Return a mailing and how far it is."""
        rows = self._rows(_MAIL["read_mailing"], {"id": task_id, "workspace_id": workspace_id})
        return rows[0] if rows else None

    def recipients(
        self, task_id: UUID, workspace_id: UUID, *, state: RecipientState | None, after: int = 0, limit: int = 50
    ) -> list[Row]:
        """Return recipients of a mailing in the caller's order, behind a number."""
        params = {"id": task_id, "workspace_id": workspace_id, "after": after, "limit": limit}
        return self._rows(_MAIL["list_recipients"], params | {"state": str(state) if state else None})

    def pause(self, task_id: UUID, workspace_id: UUID) -> bool:
        """Pause a mailing at its next recipient; False when the workspace has none such, or it has ended."""
        ids = {"id": task_id, "workspace_id": workspace_id}
        with self._pool.connection() as connection, connection.transaction():
            if not _is_unfinished(connection, task_id):
                return False
            return bool(connection.execute(_MAIL["pause_mailing"], ids).rowcount)

    def resume(self, task_id: UUID, workspace_id: UUID) -> bool:
        """Let a mailing go on at once; False when the workspace has none such, or it has ended."""
        ids = {"id": task_id, "workspace_id": workspace_id}
        with self._pool.connection() as connection, connection.transaction():
            state = _state(connection, task_id)
            if state is None or not _is_unfinished(connection, task_id):
                return False
            is_running = state == JobState.RUNNING
            if connection.execute(_MAIL["resume_mailing"], ids | {"is_running": is_running}).rowcount:
                connection.execute(_MAIL["wake_mail_job"], ids)
            return True

    def suppress(self, workspace_id: UUID, address: str, reason: str) -> None:
        """Send nothing more to an address."""
        params = {"workspace_id": workspace_id, "address": address, "reason": reason}
        with self._pool.connection() as connection:
            connection.execute(_MAIL["suppress"], params)

    def unsuppress(self, workspace_id: UUID, address: str) -> bool:
        """Let mail go to an address again; False when it was not on the list."""
        with self._pool.connection() as connection:
            params = {"workspace_id": workspace_id, "address": address}
            return bool(connection.execute(_MAIL["unsuppress"], params).rowcount)

    def suppressions(self, workspace_id: UUID, *, after: str = "", limit: int = 50) -> list[Row]:
        """Return the addresses that get nothing, in alphabetical order, behind one of them."""
        return self._rows(_MAIL["list_suppressions"], {"workspace_id": workspace_id, "after": after, "limit": limit})

    def _rows(self, query: LiteralString, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()


def _state(connection: Connection, task_id: UUID) -> str | None:
    row = connection.execute(_MAIL["hold_mail_job"], {"id": task_id}).fetchone()
    return row[0] if row else None


def _is_unfinished(connection: Connection, task_id: UUID) -> bool:
    return _state(connection, task_id) in (JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)


def _each_once(recipients: Sequence[NewRecipient]) -> list[NewRecipient]:
    """Keep the first of those who share a mailbox."""
    kept: dict[str, NewRecipient] = {}
    for each in recipients:
        kept.setdefault(each.address.lower(), each)
    return list(kept.values())


def _mailing_row(mailing: NewMailing, *, total: int) -> Row:
    letter = mailing.letter
    return {
        "id": mailing.id,
        "workspace_id": mailing.workspace_id,
        "subject": letter.subject,
        "text_body": letter.text,
        "html_body": letter.html,
        "variables": Jsonb(dict(letter.variables)),
        "from_name": letter.from_name,
        "reply_to": letter.reply_to,
        "unsubscribe_url": letter.unsubscribe_url,
        "attachments": Jsonb([asdict(each) for each in letter.attachments]),
        "rate_limit": mailing.rate_limit,
        "in_doubt": str(mailing.in_doubt),
        "total": total,
    }


def _mailing(row: Row, *, doubts: int) -> Mailing:
    letter = Letter(
        subject=row["subject"],
        text=row["text_body"],
        html=row["html_body"],
        variables=row["variables"],
        from_name=row["from_name"],
        reply_to=row["reply_to"],
        unsubscribe_url=row["unsubscribe_url"],
        attachments=tuple(Attachment(**each) for each in row["attachments"]),
    )
    return Mailing(
        id=row["id"],
        workspace_id=row["workspace_id"],
        letter=letter,
        rate_limit=row["rate_limit"],
        in_doubt=InDoubt(row["in_doubt"]),
        total=row["total"],
        doubts=doubts,
        is_paused=row["is_paused"],
    )


def _place(mailing: Mailing, recipient: Recipient, lease: Lease) -> Row:
    return {"mailing_id": mailing.id, "number": recipient.number, "lease": lease.number}
