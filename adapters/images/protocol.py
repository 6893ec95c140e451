"""What the picture child is told, and what it tells its parent. Never pickle, for the child is not trusted."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from adapters.sandbox.frames import frame
from domain.media import Format, Recipe, parse_recipe

#: Most bytes of a picture in one message.
PART_BYTES = 1 << 18

#: Longest message that is not a part of a picture.
ENVELOPE_BYTES = 1 << 16


class Refusal(StrEnum):
    """Why no picture is made of a file."""

    UNREADABLE = "unreadable"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED = "damaged"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    OUTSIDE = "outside"
    UNREACHABLE = "unreachable"
    PDF_DAMAGED = "pdf_damaged"
    PDF_ENCRYPTED = "pdf_encrypted"
    NO_SUCH_PAGE = "no_such_page"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use. `pixels`: of all frames that are kept, together; `result_bytes`: of the picture."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    pixels: int
    frames: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class Order:
    """What the child shall make, and of which file."""

    file: str
    recipe: Recipe
    limits: Limits

    def encode(self) -> bytes:
        """Turn the order into bytes."""
        told = {"file": self.file, "recipe": self.recipe.as_json(), "limits": asdict(self.limits)}
        return json.dumps(told).encode("ascii")  # escapes carry the surrogates of names that are not UTF-8

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Turn the bytes back into the order."""
        told = json.loads(content)
        return cls(told["file"], parse_recipe(told["recipe"]), Limits(**told["limits"]))


@dataclass(frozen=True, slots=True)
class Made:
    """The picture, whose bytes follow."""

    format: Format
    width: int
    height: int
    frames: int
    unchanged: bool
    byte_count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no picture. `found`: what was counted; `allowed`: what may be."""

    reason: Refusal
    found: int = 0
    allowed: int = 0


def encode_picture(made: Made, content: bytes) -> Iterator[bytes]:
    """Turn a picture into frames."""
    yield frame(b"M", json.dumps(asdict(made)).encode())
    view = memoryview(content)
    for start in range(0, len(content), PART_BYTES):
        yield frame(b"D", bytes(view[start : start + PART_BYTES]))


def encode_refusal(refused: Refused) -> bytes:
    """Turn a refusal into a frame."""
    return frame(b"R", json.dumps(asdict(refused)).encode())


def decode(kind: bytes, payload: bytes) -> Made | Refused | bytes:
    """Turn a frame into a message. Raises ValueError unless it is one that a healthy child sends."""
    if kind == b"D" and 0 < len(payload) <= PART_BYTES:
        return payload
    try:
        if kind == b"M":
            return _made(**json.loads(payload))
        if kind == b"R":
            told = json.loads(payload)
            return Refused(Refusal(told["reason"]), _count(told["found"]), _count(told["allowed"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(NOT_OURS) from error
    raise ValueError(NOT_OURS)


NOT_OURS = "the picture's process sent a message that is not one of ours"


def _made(**told: Any) -> Made:
    if not isinstance(told["unchanged"], bool):
        raise TypeError("not a truth value")
    numbers = {name: _count(told[name]) for name in ("width", "height", "frames", "byte_count")}
    if not all(numbers.values()):
        raise ValueError("an empty picture")
    return Made(format=Format(told["format"]), unchanged=told["unchanged"], **numbers)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a count")
    return value
