"""Webhooks: who is told of what, at which addresses, and how a receiver knows that it was us.

Format and signature are those of the Standard Webhooks specification, version 1.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit
from uuid import UUID, uuid4

from domain.errors import InvalidWebhookError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookEvent(StrEnum):
    """What a workspace may be told of."""

    DOCUMENT_READY = "document.ready"
    DOCUMENT_FAILED = "document.failed"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    NOTIFICATION_CREATED = "notification.created"


class DeliveryState(StrEnum):
    """Where a delivery is. `discarded`: the endpoint was disabled, or too many deliveries waited for it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISCARDED = "discarded"


SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix
SECRET_BYTES = 32

#: How long a receiver has to learn a new secret; messages carry both signatures meanwhile.
SECRET_GRACE = timedelta(hours=24)

#: A bound on the signatures of one message, should somebody rotate again and again.
SECRETS_KEPT = 3

LONGEST_URL = 2048
LONGEST_DESCRIPTION = 200

#: Where HTTPS is served; anything else would make us a port scanner for whoever may add an endpoint.
PUBLIC_PORTS = frozenset({443, 8443})

BROADCAST = ipaddress.ip_address("255.255.255.255")

#: Only here are IPv6 addresses of the Internet (RFC 4291).
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

#: What `ipaddress` may call global and is not the Internet: mechanisms that lead to any IPv4 address, protocol
#: assignments, documentation, and Azure's metadata and name server.
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("2001::/23", "2002::/16", "3fff::/20", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
    )
)


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """Which addresses may be told. `allow_private`: private networks, plain HTTP and any port, too."""

    allow_private: bool = False

    def check_url(self, url: str) -> SplitResult:
        """Return the parts of an acceptable URL. Raises InvalidWebhookError that names the fault.

        What a name resolves to is looked at when a connection is made, every time.
        """
        parts, port = _split(url)
        if parts.scheme not in ({"https", "http"} if self.allow_private else {"https"}):
            raise InvalidWebhookError("the URL must begin with https://")
        if not self.allow_private and (port or 443) not in PUBLIC_PORTS:
            raise InvalidWebhookError(f"the URL's port must be one of {', '.join(map(str, sorted(PUBLIC_PORTS)))}")
        literal = parse_address(parts.hostname or "")
        if literal is not None and not self.allows(literal):
            raise InvalidWebhookError("the URL's address is not on the public Internet")
        return parts

    def allows(self, address: Address) -> bool:
        """Tell whether a connection to this address may be made."""
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_multicast or address.is_unspecified or address == BROADCAST:
            return False
        return self.allow_private or _is_public(address)


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in NOT_PUBLIC)


def parse_address(host: str) -> Address | None:
    """Return the address that a host is in itself; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _split(url: str) -> tuple[SplitResult, int | None]:
    if len(url) > LONGEST_URL:
        raise InvalidWebhookError(f"the URL is longer than {LONGEST_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidWebhookError("the URL must be plain ASCII: write international names as xn--…")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidWebhookError("the URL cannot be read") from None
    if not parts.hostname:
        raise InvalidWebhookError("the URL names no host")
    if "@" in parts.netloc:
        raise InvalidWebhookError("the URL must not carry a user name or a password: messages are signed instead")
    if parts.fragment:
        raise InvalidWebhookError("the URL must not have a fragment")
    return parts, port


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint on its way in."""

    id: UUID
    workspace_id: UUID
    url: str
    events: tuple[WebhookEvent, ...]
    description: str


class Endpoints(Protocol):
    """The endpoints of workspaces. Each method is one transaction; False: the workspace has no such endpoint."""

    def add(self, endpoint: NewEndpoint, secret: bytes, *, limit: int) -> bool:
        """Add an endpoint with its secret; False when the workspace has `limit` of them."""
        ...

    def rotate(self, endpoint_id: UUID, workspace_id: UUID, secret: bytes, *, grace: timedelta, keep: int) -> bool:
        """Sign with this secret from now on, and with the last ones (`keep` in all) until the grace is over."""
        ...

    def enable(self, endpoint_id: UUID, workspace_id: UUID) -> bool:
        """Tell it of events again, and forget how it failed."""
        ...

    def disable(self, endpoint_id: UUID, workspace_id: UUID, reason: str) -> bool:
        """Tell it of nothing; the first reason stays."""
        ...

    def delete(self, endpoint_id: UUID, workspace_id: UUID) -> bool:
        """Forget it with its secrets and deliveries."""
        ...


def create_endpoint(
    workspace_id: UUID,
    url: str,
    events: Sequence[str] = (),
    description: str = "",
    *,
    endpoints: Endpoints,
    policy: TargetPolicy,
    limit: int,
) -> tuple[NewEndpoint, str]:
    """Add an endpoint for these events, all if none is named; return it with the secret, which is shown only now.

    Raises InvalidWebhookError for an address, an event or a number of endpoints that is refused.
    """
    policy.check_url(url)
    if len(description) > LONGEST_DESCRIPTION or not description.isprintable():
        raise InvalidWebhookError(f"the description must be one line of at most {LONGEST_DESCRIPTION} characters")
    endpoint = NewEndpoint(uuid4(), workspace_id, url, _events(events), description)
    secret = secrets.token_bytes(SECRET_BYTES)
    if not endpoints.add(endpoint, secret, limit=limit):
        raise InvalidWebhookError(f"the workspace has {limit} endpoints, as many as it may: delete one first")
    return endpoint, show_secret(secret)


def rotate_secret(endpoint_id: UUID, workspace_id: UUID, *, endpoints: Endpoints) -> str | None:
    """Give an endpoint a new secret and return it; None when there is no such endpoint.

    Messages carry a signature of the old one, too, for a day.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    known = endpoints.rotate(endpoint_id, workspace_id, secret, grace=SECRET_GRACE, keep=SECRETS_KEPT)
    return show_secret(secret) if known else None


def _events(names: Sequence[str]) -> tuple[WebhookEvent, ...]:
    unknown = sorted(set(names) - set(WebhookEvent))
    if unknown:
        known = ", ".join(WebhookEvent)
        raise InvalidWebhookError(f"there is no event {unknown[0]!r:.60}; there are: {known}")
    return tuple(event for event in WebhookEvent if event in names or not names)


def show_secret(secret: bytes) -> str:
    """Write a secret as receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def message_id(event_id: UUID) -> str:
    """Return the `webhook-id` of an event: the same at every attempt, so that receivers can drop what they know."""
    return f"msg_{event_id.hex}"


def message_body(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Write the message: what happened, when, and to what. It is byte for byte the same at every attempt."""
    timestamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = {"type": event, "timestamp": timestamp, "data": data}
    return json.dumps(message, separators=(",", ":"), sort_keys=True).encode()


def sign(secret: bytes, identifier: str, sent_at: int, body: bytes) -> str:
    """Sign a message; `sent_at` in seconds of the Unix epoch."""
    signed = hmac.new(secret, f"{identifier}.{sent_at}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()


def message_headers(event_id: UUID, body: bytes, keys: Sequence[bytes], sent_at: int) -> dict[str, str]:
    """Return the headers of an attempt, with one signature per secret."""
    identifier = message_id(event_id)
    return {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": " ".join(sign(key, identifier, sent_at, body) for key in keys),
    }
