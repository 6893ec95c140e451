"""SMTP as servers speak it: TLS, logins, dots, and connections that break."""

import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword

from adapters.mail.smtp import SmtpServer, SmtpTransport
from domain.errors import PermanentError
from domain.mailings import Answer, MailOutageError, Result
from tests.smtp_server import Mailbox, an_smtp_server

SENDER, READER = "news@example.com", "anna@example.com"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def login(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
    is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"mailer", b"hunter2")
    return AuthResult(success=is_right, handled=False)


AUTH = {"authenticator": login, "auth_required": True}


def a_mail(text: str = "Hello.") -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, READER, "x"
    message.set_content(text)
    return message.as_bytes()


def send(transport: SmtpTransport, mail: bytes = b"") -> Answer:
    with transport.session() as session:
        answer = session.offer(SENDER, READER)
        return session.hand_over(mail or a_mail()) if answer.result is Result.SENT else answer


@pytest.fixture
def plain() -> Iterator[tuple[Mailbox, SmtpTransport]]:
    with an_smtp_server() as (mailbox, port):
        transport = SmtpTransport(SmtpServer("127.0.0.1", port, tls="none", timeout_seconds=5))
        yield mailbox, transport
        transport.close()


def test_a_way_is_encrypted_before_the_password_travels(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with an_smtp_server(tls_context=server_tls, require_starttls=True, **AUTH) as (mailbox, port):
        server = SmtpServer("127.0.0.1", port, user="mailer", password="hunter2", context=client_tls)
        answer = send(SmtpTransport(server))

    assert (answer.result, mailbox.addresses) == (Result.SENT, {READER: 1})


def test_a_way_may_be_encrypted_from_the_start(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with an_smtp_server(ssl_context=server_tls) as (mailbox, port):
        answer = send(SmtpTransport(SmtpServer("127.0.0.1", port, tls="implicit", context=client_tls)))

    assert (answer.result, mailbox.addresses) == (Result.SENT, {READER: 1})


def test_a_server_without_encryption_gets_neither_password_nor_mail() -> None:
    with an_smtp_server(authenticator=login, auth_require_tls=False) as (mailbox, port):
        server = SmtpServer("127.0.0.1", port, user="mailer", password="hunter2", tls="starttls")
        with pytest.raises(MailOutageError):
            send(SmtpTransport(server))

    assert mailbox.envelopes == []


def test_a_server_that_nobody_vouches_for_gets_nothing(server_tls: ssl.SSLContext) -> None:
    with an_smtp_server(tls_context=server_tls) as (mailbox, port), pytest.raises(MailOutageError, match="SSL"):
        send(SmtpTransport(SmtpServer("127.0.0.1", port)))

    assert mailbox.envelopes == []


def test_a_wrong_password_is_nobodys_fault_and_not_told(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with an_smtp_server(tls_context=server_tls, require_starttls=True, **AUTH) as (_, port):
        server = SmtpServer("127.0.0.1", port, user="mailer", password="hunter3", context=client_tls)
        with pytest.raises(MailOutageError, match="refuses the login") as refused:
            send(SmtpTransport(server))

    assert "hunter3" not in str(refused.value) + repr(server)


@pytest.mark.parametrize("text", [".", "..", "one\n.\ntwo", ".\n", "\n.\n.\n", "x\n."])
def test_lines_of_dots_arrive_as_they_are(plain: tuple[Mailbox, SmtpTransport], text: str) -> None:
    mailbox, transport = plain

    assert send(transport, a_mail(text)).result is Result.SENT
    assert mailbox.messages[0].get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")
    assert send(transport).result is Result.SENT
    assert mailbox.connections == 1


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("450 later", Result.TEMPORARY),
        ("552 full", Result.PERMANENT),
        ("354 what", Result.IN_DOUBT),
        ("hang up", Result.IN_DOUBT),
    ],
)
def test_verdicts_are_told_apart(plain: tuple[Mailbox, SmtpTransport], answer: str, result: Result) -> None:
    mailbox, transport = plain
    mailbox.judge_data = lambda _: answer

    assert send(transport).result is result
    mailbox.judge_data = lambda _: None
    assert send(transport).result is Result.SENT


def test_a_withdrawn_offer_leaves_the_connection_fit(plain: tuple[Mailbox, SmtpTransport]) -> None:
    mailbox, transport = plain
    with transport.session() as session:
        session.offer(SENDER, READER)
        session.withdraw()

    assert send(transport).result is Result.SENT
    assert (mailbox.connections, mailbox.addresses) == (1, {READER: 1})


def test_a_sender_that_is_refused_ends_the_mailing(plain: tuple[Mailbox, SmtpTransport]) -> None:
    mailbox, transport = plain
    mailbox.judge_sender = lambda _: "553 not yours"

    with pytest.raises(PermanentError, match="refuses the sender: 553 not yours"):
        send(transport)


def test_a_connection_that_has_idled_is_asked_first() -> None:
    now = [0.0]
    with an_smtp_server() as (mailbox, port):
        transport = SmtpTransport(SmtpServer("127.0.0.1", port, tls="none"), clock=lambda: now[0])
        send(transport)
        now[0] = 10.0
        send(transport)
        now[0] = 100.0
        send(transport)
        transport.close()

    assert mailbox.connections == 2
