"""Where webhooks may go, how they are signed, and what a failed attempt means."""

import base64
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from domain.errors import InvalidWebhookError
from domain.webhook_delivery import ATTEMPTS, RETRY_AFTER
from domain.webhooks import (
    SECRET_BYTES,
    TargetPolicy,
    WebhookEvent,
    create_endpoint,
    message_body,
    message_headers,
    show_secret,
)

PUBLIC, PRIVATE = TargetPolicy(), TargetPolicy(allow_private=True)
EVENT = UUID("11111111-2222-4333-8444-555555555555")
AT = datetime(2026, 11, 22, 2, 0, 0, 123456, UTC)

REFUSED_URLS = {
    "http://example.com/hook": "https://",
    "ftp://example.com/": "https://",
    "//example.com/": "https://",
    "https:///hook": "no host",
    "https://user@example.com/": "user name",
    "https://user:secret@example.com/": "user name",
    "https://@example.com/": "user name",
    "https://example.com:22/": "port",
    "https://example.com:80/": "port",
    "https://example.com:0x1bb/": "cannot be read",
    "https://example.com:99999/": "cannot be read",
    "https://example.com/#part": "fragment",
    "https://example.com/a b": "plain ASCII",
    "https://example.com\\@evil.example/": "plain ASCII",
    "https://exämple.com/": "plain ASCII",
    "https://example.com/\n": "plain ASCII",
    "https://[::1/": "cannot be read",
    "https://127.0.0.1/": "public Internet",
    "https://10.0.0.1:8443/": "public Internet",
    "https://169.254.169.254/latest/meta-data/": "public Internet",
    "https://[::1]/": "public Internet",
    "https://[::ffff:127.0.0.1]/": "public Internet",
    "https://[fe80::1%25eth0]/": "public Internet",
    "https://example.com/" + "a" * 2048: "longer than",
}

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize(("url", "fault"), REFUSED_URLS.items())
def test_a_url_that_is_refused_names_its_fault(url: str, fault: str) -> None:
    with pytest.raises(InvalidWebhookError, match=fault):
        PUBLIC.check_url(url)


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/hook?x=1", "https://1.1.1.1/hook"])
def test_an_https_url_on_the_internet_is_accepted(url: str) -> None:
    assert PUBLIC.check_url(url).hostname


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://receiver:9000/", "https://10.0.0.7/"])
def test_private_targets_are_accepted_when_that_is_allowed(url: str) -> None:
    assert PRIVATE.check_url(url).hostname


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_on_the_internet_is_refused(address: str) -> None:
    assert not PUBLIC.allows(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1"]
)
def test_an_address_on_the_internet_is_allowed(address: str) -> None:
    assert PUBLIC.allows(ip_address(address))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_nobody_at_all_and_everybody_at_once_are_never_told(address: str) -> None:
    assert not PRIVATE.allows(ip_address(address))


def test_every_signature_verifies_with_the_library_of_the_specification() -> None:
    keys = [b"k" * SECRET_BYTES, b"old" * 10]
    body = message_body("document.ready", AT, {"document_id": str(EVENT), "name": "Übergröße"})
    headers = message_headers(EVENT, body, keys, int(datetime.now(UTC).timestamp()))

    for key in keys:
        assert Webhook(show_secret(key)).verify(body, headers)["type"] == "document.ready"
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(b"x" * SECRET_BYTES)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(keys[0])).verify(body + b" ", headers)


def test_a_message_is_thin_and_always_the_same_bytes() -> None:
    data = {"b": 1, "a": "x"}

    body = message_body("task.failed", AT.astimezone(), data)

    assert body == message_body("task.failed", AT, dict(reversed(data.items())))
    assert json.loads(body) == {"type": "task.failed", "timestamp": "2026-11-22T02:00:00.123Z", "data": data}


def test_the_id_of_a_message_is_the_event_s() -> None:
    assert message_headers(EVENT, b"", [], 1)["webhook-id"] == message_headers(EVENT, b"x", [], 2)["webhook-id"]
    assert message_headers(EVENT, b"", [], 1) != message_headers(uuid4(), b"", [], 1)


class Kept:
    """Endpoints in memory, with room for `room` of them."""

    def __init__(self, room: int = 1) -> None:
        self.room = room
        self.secrets: list[bytes] = []

    def add(self, endpoint: object, secret: bytes, *, limit: int) -> bool:
        self.secrets.append(secret)
        return limit >= self.room


def create(*events: str, kept: Kept | None = None, **more: str):
    url = more.pop("url", "https://example.com/hook")
    return create_endpoint(uuid4(), url, events, endpoints=kept or Kept(), policy=PUBLIC, limit=1, **more)


def test_an_endpoint_hears_of_everything_unless_told_otherwise() -> None:
    everything, _ = create()
    one, _ = create("task.failed")

    assert everything.events == tuple(WebhookEvent)
    assert one.events == (WebhookEvent.TASK_FAILED,)


def test_the_secret_is_random_and_shown_as_the_specification_says() -> None:
    kept = Kept()

    _, secret = create(kept=kept)
    _, other = create(kept=kept)

    assert secret.startswith("whsec_")
    assert base64.b64decode(secret.removeprefix("whsec_")) == kept.secrets[0]
    assert 24 <= len(kept.secrets[0]) <= 64
    assert secret != other


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"events": ["document.eaten"]}, "no event 'document.eaten'; there are: document.ready"),
        ({"url": "http://example.com"}, "https://"),
        ({"description": "two\nlines"}, "one line"),
        ({"description": "x" * 201}, "at most 200"),
        ({"kept": Kept(room=2)}, "has 1 endpoints, as many as it may"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_its_fault(arguments: dict, fault: str) -> None:
    with pytest.raises(InvalidWebhookError, match=fault):
        create(*arguments.pop("events", ()), **arguments)


def test_retries_follow_the_schedule_of_the_specification_for_three_days() -> None:
    assert ATTEMPTS == 10
    assert timedelta(days=3) < sum(RETRY_AFTER, timedelta()) < timedelta(days=4)
    assert list(RETRY_AFTER) == sorted(RETRY_AFTER)
