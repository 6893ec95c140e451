"""SMTP: one connection for many mails, and every answer of the server told apart."""

import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from domain.errors import FailureCode, PermanentError
from domain.mailings import Answer, MailOutageError, Result

Tls = Literal["starttls", "implicit", "none"]

#: How long the server may think about a whole mail. RFC 5321 (4.5.3.2.6) asks for ten minutes, since whoever gives up
#: earlier is in doubt; half of that is twice what filters are known to take.
VERDICT_SECONDS = 300.0

#: An idle connection is kept for this long; after a second of idleness it is asked whether it still works.
KEEP_SECONDS, ASK_AFTER_SECONDS = 30.0, 1.0
MOST_IDLE = 8

#: What a server's answer may take in an error.
ERROR_CHARACTERS = 300

#: "Service not available, closing" (RFC 5321, 4.2.3): meant for everybody, not for one recipient.
CLOSING = 421

#: What smtplib raises when a connection cannot be had or used.
BROKEN = (smtplib.SMTPServerDisconnected, OSError)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over, and how."""

    host: str
    port: int
    tls: Tls = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_seconds: float = 30.0
    context: ssl.SSLContext | None = None

    def connect(self) -> smtplib.SMTP:
        """Open a connection and log in. Raises MailOutageError."""
        try:
            return self._connect()
        except smtplib.SMTPAuthenticationError as error:
            raise MailOutageError(f"it refuses the login ({error.smtp_code})") from error  # its text may name the user
        except smtplib.SMTPResponseException as error:
            raise MailOutageError(_text(error.smtp_code, error.smtp_error)) from error
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            raise MailOutageError(f"{self.host}:{self.port} cannot be used: {type(error).__name__}") from error

    def _connect(self) -> smtplib.SMTP:
        context = self.context or ssl.create_default_context()
        if self.tls == "implicit":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_seconds, context=context)
        else:
            smtp = smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)
        try:
            if self.tls == "starttls":
                smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
            if self.user:
                smtp.login(self.user, self.password)
        except BaseException:
            smtp.close()
            raise
        return smtp


class SmtpSession:
    """See domain.mailings.Session. One thread's use."""

    def __init__(self, server: SmtpServer, smtp: smtplib.SMTP | None = None) -> None:
        self._server = server
        self._smtp = smtp
        self.is_clean = smtp is not None

    @property
    def connection(self) -> smtplib.SMTP | None:
        """The connection, if it can serve others."""
        return self._smtp if self.is_clean else None

    def offer(self, sender: str, address: str) -> Answer:
        """See the port. A connection that broke since the last mail is opened again, once."""
        if self._smtp is not None:
            try:
                return self._offer(self._smtp, sender, address)
            except BROKEN:
                self.close()
        self._smtp = self._server.connect()
        try:
            return self._offer(self._smtp, sender, address)
        except BROKEN as error:
            self.close()
            raise MailOutageError("it hangs up when a mail is offered") from error

    def hand_over(self, message: bytes) -> Answer:
        """See the port."""
        assert self._smtp is not None  # something was offered  # noqa: S101
        try:
            code, text = self._smtp.docmd("DATA")
        except BROKEN:
            self.close()
            return Answer(Result.TEMPORARY, error="The server hung up before it had the mail.")
        if code != 354:
            return self._refused(code, text)
        try:
            code, text = self._send(self._smtp, message)
        except BROKEN:
            self.close()
            return Answer(Result.IN_DOUBT, error="The server hung up before it said whether it has taken the mail.")
        self.is_clean = code == 250
        if self.is_clean:
            return Answer(Result.SENT, code)
        if code // 100 in (4, 5):
            return self._refused(code, text)
        self.close()
        return Answer(Result.IN_DOUBT, code, _text(code, text))

    def withdraw(self) -> None:
        """See the port."""
        if self._smtp is not None and not self.is_clean:
            self._reset(self._smtp)

    def close(self) -> None:
        """Hang up."""
        if self._smtp is not None:
            hang_up(self._smtp)
        self._smtp, self.is_clean = None, False

    def _offer(self, smtp: smtplib.SMTP, sender: str, address: str) -> Answer:
        self.is_clean = False
        code, text = smtp.mail(sender)
        if code // 100 == 4:
            self.close()
            raise MailOutageError(_text(code, text))
        if code // 100 != 2:
            self._reset(smtp)
            sentence = f"The mail server refuses the sender: {_text(code, text)}. Correct MAIL_FROM, then retry."
            raise PermanentError(FailureCode.MAIL_REJECTED, sentence)
        code, text = smtp.rcpt(address)
        return Answer(Result.SENT, code) if code in (250, 251) else self._refused(code, text)

    def _send(self, smtp: smtplib.SMTP, message: bytes) -> tuple[int, bytes]:
        """Send the mail with its dots doubled and a dot at its end (RFC 5321, 4.5.2), and wait for the verdict."""
        body = message.replace(b"\r\n.", b"\r\n..")
        body = b"." + body if body.startswith(b".") else body
        assert smtp.sock is not None  # it was connected a moment ago  # noqa: S101
        smtp.sock.settimeout(max(VERDICT_SECONDS, self._server.timeout_seconds))
        smtp.send(body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        answer = smtp.getreply()
        smtp.sock.settimeout(self._server.timeout_seconds)
        return answer

    def _refused(self, code: int, text: bytes) -> Answer:
        if code == CLOSING or code // 100 not in (4, 5):
            self.close()
            raise MailOutageError(_text(code, text))
        if self._smtp is not None:
            self._reset(self._smtp)
        return Answer(Result.TEMPORARY if code // 100 == 4 else Result.PERMANENT, code, _text(code, text))

    def _reset(self, smtp: smtplib.SMTP) -> None:
        try:
            self.is_clean = smtp.rset()[0] == 250
        except BROKEN:
            self.close()


class SmtpTransport:
    """See domain.mailings.Transport. Idle connections are kept for whoever comes next."""

    def __init__(self, server: SmtpServer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._lock = Lock()
        self._idle: list[tuple[float, smtplib.SMTP]] = []

    @contextmanager
    def session(self) -> Iterator[SmtpSession]:
        """See the port."""
        session = SmtpSession(self._server, self._take())
        try:
            yield session
        finally:
            self._keep(session)

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, smtp in idle:
            hang_up(smtp)

    def _take(self) -> smtplib.SMTP | None:
        while True:
            with self._lock:
                since, smtp = self._idle.pop() if self._idle else (0.0, None)
            if smtp is None:
                return None
            idle = self._clock() - since
            if idle < ASK_AFTER_SECONDS or (idle < KEEP_SECONDS and _works(smtp)):
                return smtp
            hang_up(smtp)

    def _keep(self, session: SmtpSession) -> None:
        smtp = session.connection
        if smtp is None:
            session.close()
            return
        with self._lock:
            if len(self._idle) < MOST_IDLE:
                self._idle.append((self._clock(), smtp))
                return
        hang_up(smtp)


def hang_up(smtp: smtplib.SMTP) -> None:
    """Say goodbye without waiting for long, whatever state the connection is in."""
    with suppress(smtplib.SMTPException, OSError):
        if smtp.sock is not None:
            smtp.sock.settimeout(1.0)
            smtp.quit()
    smtp.close()


def _works(smtp: smtplib.SMTP) -> bool:
    try:
        return bool(smtp.noop()[0] == 250)
    except BROKEN:
        return False


def _text(code: int, text: bytes | str) -> str:
    """Return a server's answer as one short line; it is outside data."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    line = "".join(character if character.isprintable() else " " for character in words)
    return f"{code} {' '.join(line.split())[:ERROR_CHARACTERS]}"
