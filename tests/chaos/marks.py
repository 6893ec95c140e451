"""Marks at the end of poisoned files. The parser's child imports this for every file: it must stay cheap."""

from enum import StrEnum


class Mark(StrEnum):
    """What the parser does when it meets the file; the failure code that must come of it is the value."""

    SEGFAULT = "parser_crashed"
    DEVOUR = "parse_memory"
    HANG = "parse_timeout"


def mark_of(content_tail: bytes) -> Mark | None:
    """Read the mark at the end of a file."""
    _, found, name = content_tail.rpartition(b"%chaos:")
    return Mark[name.decode().strip()] if found else None
