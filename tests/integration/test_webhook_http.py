"""One POST to real receivers on loopback, polite and otherwise."""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trustme

from adapters.webhooks.http import HttpSender
from domain.webhook_delivery import Answer, Result
from domain.webhooks import Address, TargetPolicy
from tests.webhook_receiver import Manner, Receiver

PRIVATE = TargetPolicy(allow_private=True)
#: Short, where it is meant to pass.
DEADLINE = 0.8


class OnlyHere(TargetPolicy):
    """Calls 127.0.0.2 the Internet, and the rest of loopback what it is."""

    def allows(self, address: Address) -> bool:
        return str(address) == "127.0.0.2"

    def check_url(self, url: str):
        return PRIVATE.check_url(url)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def send(receiver_or_url: Receiver | str, *, policy: TargetPolicy = PRIVATE, **options) -> Answer:
    url = receiver_or_url if isinstance(receiver_or_url, str) else receiver_or_url.url
    options.setdefault("timeout_seconds", 10)
    return HttpSender(policy, **options).send(url, {"webhook-id": "msg_1"}, b'{"type":"x"}')


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.then(status)

    answer = send(receiver)

    assert (answer.result, answer.status, answer.error) == (Result.DELIVERED, status, None)
    (request,) = receiver.requests
    assert (request.path, request.body) == ("/hook", b'{"type":"x"}')
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["user-agent"].startswith("Headrace-Webhooks/")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_anything_else_is_not(receiver: Receiver, status: int) -> None:
    receiver.then(status)

    answer = send(receiver)

    assert (answer.result, answer.status) == (Result.REJECTED, status)
    assert str(status) in str(answer.error)


def test_gone_is_told_apart(receiver: Receiver) -> None:
    receiver.then(410)

    assert send(receiver).result is Result.GONE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.then(status, {"location": receiver.url.replace("hook", "elsewhere")})

    answer = send(receiver)

    assert (answer.result, answer.status) == (Result.REJECTED, status)
    assert "redirects are not followed" in str(answer.error)
    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize("manner", [Manner.NEVER, Manner.DRIPPING_HEAD])
def test_no_answer_in_time_is_a_timeout_however_it_comes(receiver: Receiver, manner: Manner) -> None:
    receiver.then(manner=manner)

    answer = send(receiver, timeout_seconds=DEADLINE)

    assert (answer.result, answer.status) == (Result.TIMEOUT, None)
    assert DEADLINE <= answer.seconds < DEADLINE + 3


@pytest.mark.parametrize("manner", [Manner.DRIPPING_BODY, Manner.GIANT_BODY])
def test_a_body_without_end_changes_no_verdict_and_is_not_read(receiver: Receiver, manner: Manner) -> None:
    receiver.then(200, manner=manner)

    answer = send(receiver)

    assert (answer.result, answer.status) == (Result.DELIVERED, 200)
    assert answer.seconds < 5


def test_little_of_a_giant_body_is_taken(receiver: Receiver) -> None:
    receiver.then(200, manner=Manner.GIANT_BODY)

    send(receiver)

    # What the two kernels buffer is beyond us; that is some megabytes at most, of the 2^40 announced.
    assert receiver.bytes_taken < 16 * 2**20


@pytest.mark.parametrize("manner", [Manner.CLOSED, Manner.NOT_HTTP, Manner.GIANT_HEAD])
def test_what_is_no_http_is_unreachable(receiver: Receiver, manner: Manner) -> None:
    receiver.then(manner=manner)

    assert send(receiver).result is Result.UNREACHABLE


def test_nobody_there_is_unreachable(free_port: int) -> None:
    answer = send(f"http://127.0.0.1:{free_port}/")

    assert (answer.result, answer.status) == (Result.UNREACHABLE, None)


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    answer = send("http://nowhere.invalid/", resolve=resolve)

    assert (answer.result, answer.error) == (Result.UNREACHABLE, "It cannot be reached: Name or service not known")


@pytest.mark.parametrize("host", ["hooks..example.com", "a" * 64 + ".example.com"])
def test_a_name_that_no_host_can_have_is_unreachable(host: str) -> None:
    assert send(f"http://{host}/").result is Result.UNREACHABLE


def test_a_name_server_that_never_answers_is_a_timeout() -> None:
    forever = threading.Event()

    answer = send("http://slow.invalid/", timeout_seconds=DEADLINE, resolve=lambda host, port: [str(forever.wait(20))])

    assert answer.result is Result.TIMEOUT
    assert answer.seconds < DEADLINE + 3
    forever.set()


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("0", 0), ("9" * 40, 10**6), ("soon", None), ("-3", None), ("", None)]
)
def test_retry_after_in_seconds_is_read(receiver: Receiver, value: str, seconds: int | None) -> None:
    receiver.then(503, {"retry-after": value})

    wanted = None if seconds is None else timedelta(seconds=seconds)
    assert send(receiver).retry_after == wanted


def test_retry_after_as_a_date_is_read(receiver: Receiver) -> None:
    receiver.then(429, {"retry-after": format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)})

    asked = send(receiver).retry_after

    assert asked is not None
    assert timedelta(minutes=1, seconds=55) < asked <= timedelta(minutes=2)


# Addresses


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.9"], ["::1"], ["?"]])
def test_a_name_that_leads_to_an_address_that_may_not_be_told_is_refused(receiver: Receiver, addresses: list) -> None:
    url = f"http://innocent.example:{receiver.port}/hook"

    answer = send(url, policy=OnlyHere(), resolve=lambda host, port: addresses)

    assert (answer.result, answer.status) == (Result.FORBIDDEN, None)
    assert not any(address in str(answer.error) for address in addresses)
    assert (receiver.connections, receiver.requests) == (0, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_this_machine_is_refused_unless_private_targets_are_allowed(receiver: Receiver, host: str) -> None:
    class AnyUrl(TargetPolicy):
        def check_url(self, url: str):
            return PRIVATE.check_url(url)

    assert send(f"http://{host}:{receiver.port}/hook", policy=AnyUrl()).result is Result.FORBIDDEN
    assert receiver.connections == 0


def test_a_url_that_is_no_longer_acceptable_is_refused_without_looking_anything_up(receiver: Receiver) -> None:
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    assert send(receiver.url, policy=TargetPolicy(), resolve=resolve).result is Result.FORBIDDEN
    assert send("http://example.com/", policy=TargetPolicy(), resolve=resolve).result is Result.FORBIDDEN
    assert looked_up == []


def test_a_name_server_that_changes_its_answer_is_asked_once_a_connection() -> None:
    """DNS rebinding: an address that may be told first, the real target at the second look."""
    with Receiver("127.0.0.2") as public, Receiver("127.0.0.1") as private:
        answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
        looked_up: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            looked_up.append(host)
            return [next(answers)]

        url = f"http://rebinding.example:{public.port}/hook"
        first = send(url, policy=OnlyHere(), resolve=resolve)
        assert (first.result, len(public.requests), len(looked_up)) == (Result.DELIVERED, 1, 1)
        assert public.requests[0].headers["host"] == f"rebinding.example:{public.port}"

        second = send(f"http://rebinding.example:{private.port}/hook", policy=OnlyHere(), resolve=resolve)
        assert (second.result, private.connections) == (Result.FORBIDDEN, 0)


def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    url = f"http://two.example:{receiver.port}/hook"

    answer = send(url, resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"])

    assert answer.result is Result.DELIVERED


def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        assert send(receiver).result is Result.DELIVERED
        assert proxy.connections == 0


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def tls_receiver(authority: trustme.CA) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("receiver.example").configure_cert(context)
    with Receiver(ssl_context=context) as receiver:
        yield receiver


def test_the_certificate_is_checked_against_the_name_not_the_address(
    tls_receiver: Receiver, authority: trustme.CA
) -> None:
    def to(host: str) -> Result:
        url = f"https://{host}:{tls_receiver.port}/hook"
        return send(url, ssl_context=trusting(authority), resolve=lambda host, port: ["127.0.0.1"]).result

    assert to("receiver.example") is Result.DELIVERED
    assert to("another.example") is Result.UNREACHABLE
    assert len(tls_receiver.requests) == 1


def test_a_certificate_of_nobody_known_is_refused(tls_receiver: Receiver) -> None:
    answer = send(f"https://receiver.example:{tls_receiver.port}/hook", resolve=lambda host, port: ["127.0.0.1"])

    assert answer.result is Result.UNREACHABLE
    assert "certificate verify failed" in str(answer.error)
    assert tls_receiver.requests == []


def test_many_threads_may_share_a_sender(receiver: Receiver) -> None:
    sender = HttpSender(PRIVATE, timeout_seconds=20)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(sender.send(receiver.url, {}, b"{}"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.result for answer in answers] == [Result.DELIVERED] * 16
