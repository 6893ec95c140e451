"""Opaque cursors: where a list goes on, for the same filter alone."""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from adapters.api.problems import Problem

#: Longer ones are none of ours.
MOST_CHARACTERS = 500

Cursor = Annotated[str | None, Query(max_length=MOST_CHARACTERS, description="`next` of the answer before.")]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items of the answer.")]


def encode_cursor(position: Sequence[object], *filters: object) -> str:
    """Write a position in a list with these filters."""
    fields = [str(part) for part in position]
    return base64.urlsafe_b64encode(json.dumps([_filter_hash(filters), *fields]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kinds: Sequence[Any], *filters: object) -> tuple[Any, ...] | None:
    """Read a position; `kinds` turn its parts from text. Raises Problem: 422 when it is not one of this list."""
    if cursor is None:
        return None
    try:
        expected, *fields = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if expected != _filter_hash(filters):
            raise ValueError("other filters")
        return tuple(kind(field) for kind, field in zip(kinds, fields, strict=True))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        detail = "The cursor does not fit: take `next` of an answer to the same request, with the same filters."
        raise Problem(422, "invalid_cursor", detail) from None


def _filter_hash(filters: Sequence[object]) -> str:
    return hashlib.sha256(repr(filters).encode()).hexdigest()[:8]
