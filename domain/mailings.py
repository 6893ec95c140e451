"""A mailing on its way, as attempts see it, and the boundaries that sending crosses."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.errors import HeadraceError
from domain.jobs import Lease
from domain.mail import Attachment, InDoubt, Letter, RecipientState

#: The scope of the pace that all mailings keep together.
WHOLE_DEPLOYMENT = UUID(int=0)


class Result(StrEnum):
    """What became of handing one mail over: the metric's label."""

    SENT = "sent"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    IN_DOUBT = "in_doubt"
    SUPPRESSED = "suppressed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it. `code`: the server's, None without one; `error`: a sentence, None if it is well."""

    result: Result
    code: int | None = None
    error: str | None = None


class MailOutageError(HeadraceError):
    """The mail server is away, does not let us in, or asks everybody to wait. No recipient is at fault."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """A mailing as an attempt finds it. `doubts`: recipients that the attempt before left in doubt."""

    id: UUID
    workspace_id: UUID
    letter: Letter
    rate_limit: int | None
    in_doubt: InDoubt
    total: int
    doubts: int
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """One who waits for a mail. `attempts`: refusals and doubts so far."""

    number: int
    address: str
    name: str
    variables: Mapping[str, Any]
    attempts: int
    is_suppressed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a mailing is. `waiting`: recipients that are not settled; `next_in`: when the first of them is due."""

    total: int
    sent: int
    failed: int
    suppressed: int
    unconfirmed: int
    waiting: int
    next_in: timedelta
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Pace:
    """One limit: turns of a scope, so far apart."""

    scope: UUID
    spacing: timedelta


class Mark(StrEnum):
    """What came of marking a recipient: MARKED lets the mail go. GONE: a silent attempt came back and settled it."""

    MARKED = "marked"
    PAUSED = "paused"
    GONE = "gone"


class Mailings(Protocol):
    """The mailings. `lease` fences: LeaseLostError, JobCancelledError."""

    def begin(self, mailing_id: UUID, workspace_id: UUID, lease: Lease) -> Mailing | None:
        """Return the mailing and settle what the attempt before left in doubt; None when it is gone, or another's."""
        ...

    def next_due(self, mailing: Mailing) -> Recipient | None:
        """Return the recipient whose turn it is; None when nobody is due."""
        ...

    def take_turn(self, paces: Sequence[Pace], patience: timedelta) -> tuple[bool, timedelta]:
        """Return how long to wait until a mail may leave, and whether that turn is taken: not if it is too far away."""
        ...

    def mark_sending(self, mailing: Mailing, recipient: Recipient, lease: Lease) -> Mark:
        """Commit that the mail is about to be handed over, if that is still so."""
        ...

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
        """Note what became of a mail, count it, and tell watchers. PENDING: it is tried again after `wait`."""
        ...

    def take_back(self, mailing: Mailing, recipient: Recipient, lease: Lease) -> None:
        """Undo `mark_sending` for a mail that was not handed over."""
        ...

    def note_outage(self, mailing: Mailing) -> timedelta:
        """Note that the server is away; return for how long it has been."""
        ...

    def forget_outage(self, mailing: Mailing) -> None:
        """Let a mailing that is given up wait anew for the server once it is retried."""
        ...

    def standing(self, mailing: Mailing) -> Standing:
        """Tell how far it is."""
        ...


class Session(Protocol):
    """A connection to the mail server, kept from mail to mail and opened again when it broke."""

    def offer(self, sender: str, address: str) -> Answer:
        """Ask whether the server takes mail for an address: MAIL and RCPT. Raises MailOutageError, PermanentError."""
        ...

    def hand_over(self, message: bytes) -> Answer:
        """Give it the mail that was offered: DATA. IN_DOUBT when the connection broke before the answer.

        Raises MailOutageError when the server asks everybody to wait: it has not taken the mail.
        """
        ...

    def withdraw(self) -> None:
        """Take an offer back."""
        ...


class Transport(Protocol):
    """The way to the mail server."""

    def session(self) -> AbstractContextManager[Session]:
        """Lend a connection; it opens when it is first needed."""
        ...


class MailComposer(Protocol):
    """Turns templates into mail."""

    def compose(self, mailing: Mailing, recipient: Recipient, files: Sequence[tuple[Attachment, bytes]]) -> bytes:
        """Return the mail as it is sent. Raises PermanentError (mail_invalid)."""
        ...
