"""Mail as bytes: rendered templates, headers that cannot be broken out of, attachments."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from uuid import UUID

from adapters.mail.templates import render
from domain.errors import FailureCode, InvalidMailError, PermanentError
from domain.mail import LONGEST_SUBJECT, LONGEST_URL, Attachment, Letter, NewRecipient
from domain.mailings import Mailing, Recipient

#: The only address that one click may be sent to (RFC 8058, 3.1).
ONE_CLICK_SCHEME = "https://"


class TemplateComposer:
    """See domain.mail.Composer and domain.mailings.MailComposer. `sender`: the address that mail comes from."""

    def __init__(self, sender: str) -> None:
        self._sender = sender

    def check(self, letter: Letter, recipient: NewRecipient) -> None:
        """See the port."""
        self._message(letter, recipient.address, recipient.name, recipient.variables, "<check@localhost>")

    def compose(self, mailing: Mailing, recipient: Recipient, files: Sequence[tuple[Attachment, bytes]]) -> bytes:
        """See the port. Every attempt at a recipient has the same Message-ID, by which mailboxes tell a double."""
        message_id = message_id_of(mailing.id, recipient.number, self._sender)
        try:
            message = self._message(mailing.letter, recipient.address, recipient.name, recipient.variables, message_id)
        except InvalidMailError as error:
            sentence = f"The mail cannot be composed: {error}."
            raise PermanentError(FailureCode.MAIL_INVALID, sentence) from error
        for attachment, content in files:
            maintype, _, subtype = attachment.media_type.partition("/")
            message.add_attachment(content, maintype=maintype, subtype=subtype, filename=attachment.name)
        return message.as_bytes()

    def _message(
        self, letter: Letter, address: str, name: str, variables: Mapping[str, Any], message_id: str
    ) -> EmailMessage:
        known = {**letter.variables, "address": address, "name": name, **variables}
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(letter.from_name, addr_spec=self._sender)
        message["To"] = Address(name, addr_spec=address)
        message["Subject"] = _line("the subject", render(letter.subject, known, what="the subject"), LONGEST_SUBJECT)
        message["Date"] = datetime.now(UTC)
        message["Message-ID"] = message_id
        if letter.reply_to:
            message["Reply-To"] = Address(addr_spec=letter.reply_to)
        if letter.unsubscribe_url:
            _add_unsubscribe(message, render(letter.unsubscribe_url, known, what="unsubscribe_url"))
        _add_bodies(message, letter, known)
        return message


def message_id_of(mailing_id: UUID, number: int, sender: str) -> str:
    """Return the Message-ID of a recipient's mail."""
    return f"<{mailing_id}.{number}@{sender.rpartition('@')[2]}>"


def _add_bodies(message: EmailMessage, letter: Letter, variables: Mapping[str, Any]) -> None:
    """Put the text first: readers show the last alternative that they understand (RFC 2046, 5.1.4)."""
    if letter.text is not None:
        message.set_content(render(letter.text, variables, what="the text"))
    if letter.html is not None:
        html = render(letter.html, variables, what="the html", is_html=True)
        if letter.text is None:
            message.set_content(html, subtype="html")
        else:
            message.add_alternative(html, subtype="html")


def _add_unsubscribe(message: EmailMessage, address: str) -> None:
    """Let readers unsubscribe (RFC 2369), with one click where that is possible (RFC 8058)."""
    url = _line("unsubscribe_url", address, LONGEST_URL)
    if not url.startswith((ONE_CLICK_SCHEME, "mailto:")) or not url.isascii() or any(c in url for c in "<> ,"):
        raise InvalidMailError("unsubscribe_url must become an https: or mailto: address; use the filter urlencode")
    message["List-Unsubscribe"] = f"<{url}>"
    if url.startswith(ONE_CLICK_SCHEME):
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def _line(what: str, text: str, longest: int) -> str:
    """Refuse what would begin another header: variables are outside data, too."""
    if len(text) > longest or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise InvalidMailError(f"{what} must become one line of at most {longest} characters")
    return text
