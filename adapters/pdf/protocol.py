"""What the parser child tells its parent: one line of JSON a message.

Never pickle, for the child is not trusted.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

#: JSON escapes a character outside the basic plane as twelve bytes (`\\ud83d\\ude00`).
BYTES_PER_CHARACTER = 12
ENVELOPE_BYTES = 1024

#: Exit status of a child that ran out of memory: sending a message might need memory again.
OUT_OF_MEMORY = 77


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
        return self.page_characters * BYTES_PER_CHARACTER + ENVELOPE_BYTES


@dataclass(frozen=True, slots=True)
class Order:
    """What the child shall read."""

    file: str
    first_page: int
    limits: Limits


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
_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Opened, PageRead, Refused, Finished)}


def encode(message: Message) -> bytes:
    """Turn a message into a line; a lone surrogate survives as an escape."""
    fields = {name: getattr(message, name) for name in message.__slots__}
    return json.dumps({"kind": type(message).__name__, **fields}).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Turn a line into a message. Raises ValueError unless they are exactly what `encode` makes."""
    try:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("kind")]
        return _checked(kind(**fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("the parser sent a message that is not one of ours") from error


def _checked(message: Message) -> Message:
    match message:
        case Opened(page_count=int(count)) if count > 0:
            return message
        case PageRead(number=int(), text=str(), lost=bool(), repaired=bool()):
            return message
        case Refused(reason=str(reason), page=int(page), found=int(found)):
            return Refused(Refusal(reason), page, found)
        case Finished():
            return message
    raise ValueError("a field has the wrong type")
