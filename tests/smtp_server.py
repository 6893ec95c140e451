"""A real SMTP server on loopback that keeps what it took, and fails as it is told to."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

#: Returns the answer to a recipient, None for "yes".
Judge = Callable[[str], str | None]


@dataclass
class Mailbox:
    """What the server took: `handle_DATA` answers 250 for exactly these."""

    envelopes: list[tuple[float, list[str], bytes]] = field(default_factory=list)
    connections: int = 0
    refusals: int = 0
    judge_sender: Judge = lambda _: None
    judge_recipient: Judge = lambda _: None
    judge_data: Judge = lambda _: None
    #: Runs in the server's thread before a mail is taken.
    before_taking: Callable[[str], None] = lambda _: None

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        if not getattr(session, "is_counted", False):
            session.is_counted = True  # type: ignore[attr-defined]
            self.connections += 1
        return answers

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if refusal := self.judge_sender(address):
            return refusal
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if refusal := self.judge_recipient(address):
            self.refusals += 1
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        (address,) = envelope.rcpt_tos
        if refusal := self.judge_data(address):
            self.refusals += 1
            if refusal == "hang up":
                server.transport.abort()
            return refusal
        self.before_taking(address)
        content = envelope.content
        assert isinstance(content, bytes)
        self.envelopes.append((time.monotonic(), list(envelope.rcpt_tos), content))
        return "250 taken"

    @property
    def addresses(self) -> Counter[str]:
        """How many mails each address got."""
        return Counter(address for _, addresses, _ in self.envelopes for address in addresses)

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(content, policy=POLICY) for _, _, content in self.envelopes]  # type: ignore[misc]

    @property
    def times(self) -> list[float]:
        return sorted(at for at, _, _ in self.envelopes)


@contextmanager
def an_smtp_server(mailbox: Mailbox | None = None, *, port: int = 0, **options: Any) -> Iterator[tuple[Mailbox, int]]:
    """Serve on 127.0.0.1; yields the mailbox and the port."""
    mailbox = mailbox or Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port or _free_port(), **options)
    controller.start()
    try:
        yield mailbox, controller.port
    finally:
        controller.stop()


def sometimes(share: float, answers: Sequence[str], *, seed: int = 1) -> Judge:
    """Fail this share of the times, with one of the answers."""
    chance = random.Random(seed)
    return lambda _: chance.choice(answers) if chance.random() < share else None


def most_within(times: Sequence[float], window: float) -> int:
    """Return the most events in any window of this length."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
