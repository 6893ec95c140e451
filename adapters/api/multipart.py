"""Read a multipart body as it arrives: parts with a file, a bounded piece at a time."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from adapters.api.problems import Problem

#: A part's headers are two short lines.
MOST_HEADERS, HEADER_BYTES = 8, 4096


@dataclass(frozen=True, slots=True)
class FileBegins:
    """A part with a file follows. `field`: the name of the form's field; `name`: what the sender calls the file."""

    field: str
    name: str


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Some bytes of the file that began last."""

    content: bytes


class FileEnds:
    """The file that began last is complete."""


Event = FileBegins | FileBytes | FileEnds


async def read_multipart(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Yield what the body says, and end only at its proper end.

    Parts without a file are refused, so that nothing is silently ignored. Raises Problem: 415 for another content type,
    400 for a body that is malformed or cut off.
    """
    parts = _Parts(_parser_boundary(content_type))
    async for piece in body:
        for event in parts.feed(piece):
            yield event
    if not parts.is_complete:
        raise Problem(400, "incomplete_body", "The multipart body ends before its closing boundary.")


def _parser_boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Problem(415, "unsupported_media_type", "Send the file as multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "malformed_body", "The Content-Type names no multipart boundary.")
    return boundary


class _Parts:
    """Turns the parser's callbacks into events."""

    def __init__(self, boundary: bytes) -> None:
        self.is_complete = False
        self._events: list[Event] = []
        self._headers: dict[str, str] = {}
        self._field, self._value = b"", b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": lambda: self._events.append(FileEnds()),
                    "on_end": self._on_end,
                },
                max_header_count=MOST_HEADERS,
                max_header_size=HEADER_BYTES,
            )
        except FormParserError as error:
            raise _malformed(error) from None

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take some bytes of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(error) from None
        events, self._events = self._events, []
        yield from events

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get("content-disposition"))
        if disposition != b"form-data" or b"filename" not in options:
            raise Problem(422, "invalid_request", "Every part of the body must be a file with a file name.")
        name = options[b"filename"].decode("utf-8", "replace")
        self._events.append(FileBegins(options.get(b"name", b"").decode("utf-8", "replace"), name))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(FileBytes(data[start:end]))

    def _on_end(self) -> None:
        self.is_complete = True


def _malformed(error: Exception) -> Problem:
    return Problem(400, "malformed_body", f"The multipart body is malformed: {error}."[:300])
