"""What `headrace mail` does."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from adapters.cli.screen import out, put_json, say
from adapters.cli.session import session
from adapters.mail.bootstrap import PostOffice, make_post_office
from adapters.postgres.mail import Row
from domain.errors import FailureCode, InvalidMailError, PermanentError
from domain.jobs import parse_uuid
from domain.mail import Letter, MailingReceipt, NewRecipient, parse_address

#: The text itself, the file of the text, the file of the HTML.
Bodies = tuple[str | None, Path | None, Path | None]


@dataclass(frozen=True, slots=True)
class Counter:
    """The post office's counter in one workspace."""

    office: PostOffice
    workspace_id: UUID

    def find(self, task: str) -> Row:
        """Return a mailing. Raises PermanentError when the workspace has none such."""
        task_id = parse_uuid("ID", task)
        row = self.office.desk.mailing(task_id, self.workspace_id)
        if row is None:
            raise PermanentError(FailureCode.MAIL_MISSING, f"There is no mailing {task_id} in this workspace.")
        return row


def run_send(to: str, subject: str, bodies: Bodies, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Put a mail to one in."""
    with _counter(data_dir, workspace) as counter:
        receipt = counter.office.create_mailing(counter.workspace_id, _letter(subject, bodies), [NewRecipient(to)])
    _print_receipt(receipt, as_json=as_json)


def run_bulk(
    recipients: Path,
    letter: tuple[str, Bodies, str | None],
    rate_limit: int | None,
    *,
    workspace: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put a mail to many in."""
    subject, bodies, unsubscribe_url = letter
    with _counter(data_dir, workspace) as counter:
        receipt = counter.office.create_mailing(
            counter.workspace_id,
            _letter(subject, bodies, unsubscribe_url),
            list(_read_recipients(recipients)),
            is_bulk=True,
            rate_limit=rate_limit,
        )
    _print_receipt(receipt, as_json=as_json)


def run_status(task: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print how far a mailing is."""
    with _counter(data_dir, workspace) as counter:
        row = counter.find(task)
    _print_mailing(row, as_json=as_json)


def run_change(verb: str, task: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Pause or resume a mailing. Raises PermanentError when it has ended."""
    with _counter(data_dir, workspace) as counter:
        row = counter.find(task)
        change = {"pause": counter.office.desk.pause, "resume": counter.office.desk.resume}[verb]
        if not change(row["task_id"], counter.workspace_id):
            raise PermanentError(FailureCode.MAIL_MISSING, f"The mailing has {row['status']} already.")
        row = counter.find(task)
    _print_mailing(row, as_json=as_json)


def run_suppress(address: str, reason: str, *, workspace: str, data_dir: Path | None) -> None:
    """Put an address on the list of those who get nothing."""
    checked = parse_address(address)
    with _counter(data_dir, workspace) as counter:
        counter.office.desk.suppress(counter.workspace_id, checked, reason[:200])
    out().print(f"{checked} gets nothing more.")


def run_allow(address: str, *, workspace: str, data_dir: Path | None) -> int:
    """Take an address from the list; return 1 when it was not there."""
    checked = parse_address(address)
    with _counter(data_dir, workspace) as counter:
        was_there = counter.office.desk.unsuppress(counter.workspace_id, checked)
    say(f"{checked} may get mail again." if was_there else f"{checked} was not on the list.")
    return int(not was_there)


@contextmanager
def _counter(data_dir: Path | None, workspace: str) -> Iterator[Counter]:
    with session(data_dir, workspace) as here:
        yield Counter(make_post_office(here.settings, here.producer.pool), here.workspace_id)


def _letter(subject: str, bodies: Bodies, unsubscribe_url: str | None = None) -> Letter:
    text, text_file, html_file = bodies
    if text_file is not None:
        text = _read(text_file)
    html = _read(html_file) if html_file else None
    return Letter(subject=subject, text=text, html=html, unsubscribe_url=unsubscribe_url)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidMailError(f"the file {path.name} cannot be read: {error}") from None


def _read(path: Path) -> str:
    with _readable(path):
        return path.read_text(encoding="utf-8")


def _read_recipients(path: Path) -> Iterator[NewRecipient]:
    with _readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "address" not in (rows.fieldnames or ()):
            raise InvalidMailError(f"{path.name} has no column `address` in its first line")
        for row in rows:
            variables = {name: value for name, value in row.items() if name not in ("address", "name", None)}
            yield NewRecipient(row["address"] or "", row.get("name") or "", variables)


def _print_receipt(receipt: MailingReceipt, *, as_json: bool) -> None:
    if as_json:
        put_json({"task_id": receipt.task_id, "total": receipt.total})
    else:
        mails = "1 mail" if receipt.total == 1 else f"{receipt.total:,} mails"
        out().print(f"{receipt.task_id} sends {mails}.")


def _print_mailing(row: Row, *, as_json: bool) -> None:
    if as_json:
        put_json(row)
        return
    state = "paused" if row["paused_at"] and not row["finished_at"] else row["status"]
    ends = [f"{row[name]:,} {name}" for name in ("sent", "failed", "suppressed", "unconfirmed") if row[name]]
    out().print(f"{row['task_id']} {state} {row['done']:,} / {row['total']:,} {', '.join(ends)}".rstrip())
