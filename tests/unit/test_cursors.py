"""Cursors are opaque, fit one list alone, and cannot be made to break anything."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.api.cursors import _filter_hash, decode_cursor, encode_cursor
from adapters.api.problems import Problem

KINDS = (datetime.fromisoformat, UUID)


def test_a_position_is_read_back() -> None:
    position = (datetime.now(UTC), uuid4())

    assert decode_cursor(encode_cursor((position[0].isoformat(), position[1]), "ready"), KINDS, "ready") == position
    assert decode_cursor(None, KINDS, "ready") is None


def test_a_cursor_of_another_filter_is_refused() -> None:
    cursor = encode_cursor((datetime.now(UTC).isoformat(), uuid4()), "ready")

    with pytest.raises(Problem, match="same filters"):
        decode_cursor(cursor, KINDS, "failed")


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_noise_is_refused(noise: str) -> None:
    with pytest.raises(Problem) as caught:
        decode_cursor(noise, KINDS)

    assert caught.value.status == 422


@pytest.mark.parametrize("content", [[], {}, 1, ["x"], [None, None, None], ["4f53cda1", {}, []], [[[[[]]]]]])
def test_json_that_is_no_cursor_is_refused(content: object) -> None:
    with pytest.raises(Problem):
        decode_cursor(base64.urlsafe_b64encode(json.dumps(content).encode()).decode(), KINDS)


def test_a_number_without_end_is_refused() -> None:
    content = json.dumps([_filter_hash(()), float("inf")])

    with pytest.raises(Problem):
        decode_cursor(base64.urlsafe_b64encode(content.encode()).decode(), (int,))
