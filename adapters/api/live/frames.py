"""What goes over the wire: every event is written down once, however many watch it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from domain.live import Channel, LiveEvent

NOTIFICATION = "task_notification"


@dataclass(frozen=True)
class Frame:
    """A message: its text for a socket, and the same as a server-sent event. `id`: where the log goes on after it."""

    id: int
    text: str

    @cached_property
    def stream(self) -> bytes:
        """Return it as a server-sent event; JSON has no line breaks of its own."""
        return f"id: {self.id}\ndata: {self.text}\n\n".encode()


def frame_of(event: LiveEvent) -> Frame:
    """Write an event."""
    message = {"type": NOTIFICATION, "event": event.name, "data": event.data, "id": event.id}
    return Frame(event.id, _json(message))


def connected_frame(channel: Channel, position: int) -> Frame:
    """Greet a watcher with its place in the log, so that it can resume before it has seen any event."""
    return Frame(position, _json({"type": "connected", "channel": str(channel), "id": position}))


def gap_frame(position: int) -> Frame:
    """Say that events between the watcher's place and this one may be gone: it has to ask for the state anew."""
    return Frame(position, _json({"type": "gap", "id": position}))


def _json(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
