"""What the parser child is told, and what it tells its parent: frames of kind, length and payload.

Never pickle, for the child is not trusted. Text travels as UTF-8, which costs a third of what JSON does.
"""

import os
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from adapters.sandbox.frames import frame

_ORDER = struct.Struct("!QQQddQQQ")
_OPENED = struct.Struct("!I")
_PAGE = struct.Struct("!IB")
_REFUSED = struct.Struct("!IQ")
_LOST, _REPAIRED = 1, 2

_BYTES_PER_CHARACTER = 4
_ENVELOPE_BYTES = 1024


class Refusal(StrEnum):
    """Why the child does not read a file, or does not read on."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_A_PDF = "not_a_pdf"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged"
    NO_PAGES = "no_pages"
    TOO_MANY_PAGES = "too_many_pages"
    LONG_PAGE = "long_page"
    LONG_DOCUMENT = "long_document"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use and what one document may hold."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    page_seconds: float
    pages: int
    characters: int
    page_characters: int

    @property
    def message_bytes(self) -> int:
        """Return the size of the largest message that an honest child sends."""
        return self.page_characters * _BYTES_PER_CHARACTER + _ENVELOPE_BYTES


@dataclass(frozen=True, slots=True)
class Order:
    """What the child shall read."""

    file: str
    first_page: int
    limits: Limits

    def encode(self) -> bytes:
        """Turn the order into bytes; unpickling one costs a child 0.3 ms."""
        limits = self.limits
        return _ORDER.pack(
            self.first_page,
            limits.memory_bytes,
            limits.cpu_seconds,
            limits.wall_seconds,
            limits.page_seconds,
            limits.pages,
            limits.characters,
            limits.page_characters,
        ) + os.fsencode(self.file)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Turn the bytes back into the order. Raises struct.error."""
        first_page, *limits = _ORDER.unpack_from(content)
        return cls(os.fsdecode(content[_ORDER.size :]), first_page, Limits(*limits))


@dataclass(frozen=True, slots=True)
class Opened:
    """The file is open and has `page_count` pages."""

    page_count: int


@dataclass(frozen=True, slots=True)
class PageRead:
    """One page. `repaired`: up to here the parser had to mend the structure of the file."""

    number: int
    text: str
    lost: bool
    repaired: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The child stops. `page` is 0 while opening the file."""

    reason: Refusal
    page: int
    found: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Every page was sent."""


Message = Opened | PageRead | Refused | Finished


def encode(message: Message) -> bytes:
    """Turn a message into a frame."""
    match message:
        case PageRead(number, text, lost, repaired):
            kind, payload = b"P", _PAGE.pack(number, lost * _LOST | repaired * _REPAIRED) + _to_utf8(text)
        case Opened(page_count):
            kind, payload = b"O", _OPENED.pack(page_count)
        case Refused(reason, page, found):
            kind, payload = b"R", _REFUSED.pack(page, found) + reason.encode()
        case Finished():
            kind, payload = b"F", b""
    return frame(kind, payload)


def decode(kind: bytes, payload: bytes) -> Message:
    """Turn a frame into a message. Raises ValueError unless it is exactly what `encode` makes."""
    try:
        match kind:
            case b"P":
                return _decode_page(payload)
            case b"O":
                (page_count,) = _OPENED.unpack(payload)
                if page_count:
                    return Opened(page_count)
            case b"R":
                reason = Refusal(payload[_REFUSED.size :].decode())
                return Refused(reason, *_REFUSED.unpack_from(payload))
            case b"F" if not payload:
                return Finished()
    except (ValueError, struct.error) as error:
        raise ValueError(NOT_OURS) from error
    raise ValueError(NOT_OURS)


NOT_OURS = "the parser sent a message that is not one of ours"


def _decode_page(payload: bytes) -> PageRead:
    number, flags = _PAGE.unpack_from(payload)
    if flags > _LOST | _REPAIRED:
        raise ValueError(NOT_OURS)
    return PageRead(number, payload[_PAGE.size :].decode(), bool(flags & _LOST), bool(flags & _REPAIRED))


def _to_utf8(text: str) -> bytes:
    """Encode; a pair of surrogates becomes its character, a lone one the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
