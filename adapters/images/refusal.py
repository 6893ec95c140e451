"""Stops the making of a picture from anywhere in it."""

from adapters.images.protocol import Refusal, Refused


class RefusedError(Exception):
    """No picture is made. `refused` is what the parent is told."""

    def __init__(self, reason: Refusal, *, found: int = 0, allowed: int = 0) -> None:
        super().__init__(reason)
        self.refused = Refused(reason, found, allowed)
