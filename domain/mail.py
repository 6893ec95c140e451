"""Mail: what a mailing is, what is refused before anything is sent, and how one comes into being."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.blob_keys import is_key_of
from domain.errors import FailureCode, InvalidMailError, PermanentError
from domain.ids import new_id

#: RFC 5321, 4.5.3.1: a path has 256 characters, two of them brackets; a local part 64.
LONGEST_ADDRESS, LONGEST_LOCAL_PART = 254, 64

#: RFC 5322 atoms, which is what mailboxes are made of in practice: no quotes, no comments, no address literals.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

LONGEST_NAME = 200
LONGEST_SUBJECT = 500
LONGEST_BODY = 200_000
LONGEST_URL = 2000
MOST_ATTACHMENTS = 10

#: As JSON. It bounds how long rendering one mail can take.
LARGEST_VARIABLES = 16_384

#: What ends a line for somebody, and begins another header: control characters, and what else `str.splitlines` knows.
_NOT_IN_A_LINE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")


class RecipientState(StrEnum):
    """Where a recipient's mail is. Only `pending` and `sending` are left again."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    UNCONFIRMED = "unconfirmed"


class InDoubt(StrEnum):
    """What to do when nobody can tell whether a mail was taken: risk a second one, or risk none."""

    SEND_AGAIN = "send_again"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A blob of the workspace that goes with every mail."""

    blob_key: str
    name: str
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """Who gets a mail, and what the templates may say to them alone."""

    address: str
    name: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent. Subject, bodies and address to unsubscribe are Jinja2 templates."""

    subject: str
    text: str | None = None
    html: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    from_name: str = ""
    reply_to: str | None = None
    unsubscribe_url: str | None = None
    attachments: Sequence[Attachment] = ()


@dataclass(frozen=True, slots=True)
class NewMailing:
    """A mailing on its way into the database. `rate_limit`: mails per minute, None for no limit of its own."""

    id: UUID
    workspace_id: UUID
    job: str
    letter: Letter
    recipients: Sequence[NewRecipient]
    rate_limit: int | None
    in_doubt: InDoubt


@dataclass(frozen=True, slots=True)
class MailingReceipt:
    """What was put in. `total`: mailboxes, each counted once."""

    task_id: UUID
    total: int


@dataclass(frozen=True, slots=True)
class MailLimits:
    """What one mailing may ask for. `sender`: the address that all mail comes from, empty where mail is off."""

    sender: str
    most_recipients: int


class Composer(Protocol):
    """Turns templates into mail."""

    def check(self, letter: Letter, recipient: NewRecipient) -> None:
        """Compose the first mail to see whether it can be. Raises InvalidMailError."""
        ...


class MailingIntake(Protocol):
    """Takes mailings in."""

    def add(self, mailing: NewMailing, confirm: Callable[[MailingReceipt], None]) -> MailingReceipt:
        """Store a mailing and its job in one transaction, in which `confirm` is told."""
        ...


def unheard(_: MailingReceipt) -> None:
    """Tell nobody."""


def create_mailing(
    workspace_id: UUID,
    letter: Letter,
    recipients: Sequence[NewRecipient],
    *,
    intake: MailingIntake,
    composer: Composer,
    limits: MailLimits,
    is_bulk: bool = False,
    rate_limit: int | None = None,
    in_doubt: InDoubt = InDoubt.SEND_AGAIN,
    confirm: Callable[[MailingReceipt], None] = unheard,
) -> MailingReceipt:
    """Check a mailing and put it in with its job.

    Raises InvalidMailError that names the fault, PermanentError (mail_not_configured).
    """
    if not limits.sender:
        message = "This deployment sends no mail; its operator sets SMTP_HOST and MAIL_FROM."
        raise PermanentError(FailureCode.MAIL_NOT_CONFIGURED, message)
    if not 1 <= len(recipients) <= limits.most_recipients:
        raise InvalidMailError(f"it has {len(recipients):,} recipients, not from 1 to {limits.most_recipients:,}")
    if rate_limit is not None and rate_limit < 1:
        raise InvalidMailError("rate_limit must be at least 1 mail per minute")
    checked = [_checked_recipient(each) for each in recipients]
    letter = _checked_letter(workspace_id, letter)
    composer.check(letter, checked[0])
    job = "send_bulk_emails" if is_bulk else "send_single_email"
    mailing = NewMailing(new_id(), workspace_id, job, letter, checked, rate_limit, in_doubt)
    return intake.add(mailing, confirm)


def parse_address(text: str) -> str:
    """Return an address with its domain in ASCII. Raises InvalidMailError."""
    local, at, domain = text.strip().rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode() if not domain.isascii() else domain
    except UnicodeError:
        ascii_domain = ""
    address = f"{local}@{ascii_domain}"
    is_whole = at and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(ascii_domain)
    if not is_whole or len(address) > LONGEST_ADDRESS or len(local) > LONGEST_LOCAL_PART:
        raise InvalidMailError(f"{text!r:.80} is no address that mail can be sent to, such as name@example.com")
    return address


def is_line(text: str, longest: int) -> bool:
    """Tell whether a text can be a header, or a part of one."""
    return len(text) <= longest and not _NOT_IN_A_LINE.search(text)


def _checked_recipient(recipient: NewRecipient) -> NewRecipient:
    _check_line("the name of a recipient", recipient.name, LONGEST_NAME)
    _check_variables(recipient.variables)
    return NewRecipient(parse_address(recipient.address), recipient.name, recipient.variables)


def _checked_letter(workspace_id: UUID, letter: Letter) -> Letter:
    _check_line("the subject", letter.subject, LONGEST_SUBJECT)
    _check_line("from_name", letter.from_name, LONGEST_NAME)
    _check_line("unsubscribe_url", letter.unsubscribe_url or "", LONGEST_URL)
    if letter.text is None and letter.html is None:
        raise InvalidMailError("it has neither text nor html")
    if max(len(letter.text or ""), len(letter.html or "")) > LONGEST_BODY:
        raise InvalidMailError(f"a body is longer than {LONGEST_BODY:,} characters")
    _check_text("a body", (letter.text or "") + (letter.html or ""))
    _check_variables(letter.variables)
    if len(letter.attachments) > MOST_ATTACHMENTS:
        raise InvalidMailError(f"it has more than {MOST_ATTACHMENTS} attachments")
    for attachment in letter.attachments:
        _check_attachment(workspace_id, attachment)
    reply_to = parse_address(letter.reply_to) if letter.reply_to else None
    return Letter(
        subject=letter.subject,
        text=letter.text,
        html=letter.html,
        variables=letter.variables,
        from_name=letter.from_name,
        reply_to=reply_to,
        unsubscribe_url=letter.unsubscribe_url or None,
        attachments=tuple(letter.attachments),
    )


def _check_attachment(workspace_id: UUID, attachment: Attachment) -> None:
    if not is_key_of(workspace_id, attachment.blob_key):
        raise InvalidMailError("an attachment's blob_key names no blob of this workspace")
    _check_line("an attachment's name", attachment.name, LONGEST_NAME)
    if not attachment.name.strip() or not _MEDIA_TYPE.fullmatch(attachment.media_type):
        raise InvalidMailError("an attachment needs a name and a media type such as application/pdf")


def _check_variables(variables: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(variables, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidMailError("variables must be JSON") from None
    _check_text("variables", text)
    if len(text.encode()) > LARGEST_VARIABLES or "\\u0000" in text:
        raise InvalidMailError(f"variables have more than {LARGEST_VARIABLES:,} bytes as JSON, or a NUL character")


def _check_line(what: str, text: str, longest: int) -> None:
    _check_text(what, text)
    if not is_line(text, longest):
        raise InvalidMailError(f"{what} must be one line of at most {longest} characters")


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMailError(f"{what} has characters that no text can have") from None
    if "\0" in text:
        raise InvalidMailError(f"{what} has a NUL character")
