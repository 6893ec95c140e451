"""Mail as bytes: rendered templates, headers that cannot be broken out of, attachments."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any
from uuid import UUID

from adapters.mail.templates import render
from domain.errors import FailureCode, InvalidMailError, PermanentError
from domain.mail import LONGEST_SUBJECT, Attachment, Letter, NewRecipient, is_line
from domain.mailings import Mailing, Recipient

#: The only address that one click may be sent to (RFC 8058, 3.1).
ONE_CLICK_SCHEME = "https://"

UNSUBSCRIBE = "List-Unsubscribe"
#: A line has 998 characters (RFC 5322, 2.1.1), 20 of them for the header's name and the brackets.
LONGEST_UNSUBSCRIBE = 998 - 20


class MailPolicy(EmailPolicy):
    """How a mail becomes bytes: in seven bits, which every server takes, and with headers in short lines.

    The address to unsubscribe stays whole: in the encoded words that the library would write no reader finds it.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Write one header."""
        return f"{name}: {value}\r\n".encode() if name == UNSUBSCRIBE else super().fold_binary(name, value)


POLICY = MailPolicy(linesep="\r\n", cte_type="7bit")


class TemplateComposer:
    """See domain.mail.Composer and domain.mailings.MailComposer. `sender`: the address that mail comes from."""

    def __init__(self, sender: str) -> None:
        self._sender = sender

    def check(self, letter: Letter, recipient: NewRecipient) -> None:
        """See the port."""
        self._written(letter, recipient, "<check@localhost>", ())

    def compose(self, mailing: Mailing, recipient: Recipient, files: Sequence[tuple[Attachment, bytes]]) -> bytes:
        """See the port. Every attempt at a recipient has the same Message-ID, by which mailboxes tell a double."""
        message_id = message_id_of(mailing.id, recipient.number, self._sender)
        try:
            return self._written(mailing.letter, recipient, message_id, files)
        except InvalidMailError as error:
            sentence = f"The mail cannot be composed: {error}."
            raise PermanentError(FailureCode.MAIL_INVALID, sentence) from error

    def _written(
        self,
        letter: Letter,
        recipient: NewRecipient | Recipient,
        message_id: str,
        files: Sequence[tuple[Attachment, bytes]],
    ) -> bytes:
        """Return a whole mail. Raises InvalidMailError: what the library cannot write is the fault of one mail, too."""
        try:
            message = self._message(letter, recipient, message_id)
            for attachment, content in files:
                maintype, _, subtype = attachment.media_type.partition("/")
                message.add_attachment(content, maintype=maintype, subtype=subtype, filename=attachment.name)
            return message.as_bytes()
        except InvalidMailError:
            raise
        except (ValueError, MessageError) as error:
            raise InvalidMailError(f"it cannot be written: {type(error).__name__}") from error

    def _message(self, letter: Letter, recipient: NewRecipient | Recipient, message_id: str) -> EmailMessage:
        known = {**letter.variables, "address": recipient.address, "name": recipient.name, **recipient.variables}
        message = EmailMessage(policy=POLICY)
        message["From"] = Address(letter.from_name, addr_spec=self._sender)
        message["To"] = Address(recipient.name, addr_spec=recipient.address)
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
    url = _line("unsubscribe_url", address, LONGEST_UNSUBSCRIBE)
    if not url.startswith((ONE_CLICK_SCHEME, "mailto:")) or not url.isascii() or any(c in url for c in "<> ,"):
        raise InvalidMailError("unsubscribe_url must become an https: or mailto: address; use the filter urlencode")
    message[UNSUBSCRIBE] = f"<{url}>"
    if url.startswith(ONE_CLICK_SCHEME):
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def _line(what: str, text: str, longest: int) -> str:
    """Refuse what would begin another header: variables are outside data, too."""
    if not is_line(text, longest):
        raise InvalidMailError(f"{what} must become one line of at most {longest} characters")
    return text
