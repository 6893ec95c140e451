"""Frames say what messages said, and nothing else passes for a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.pdf.protocol import (
    Finished,
    Limits,
    Message,
    Opened,
    Order,
    PageRead,
    Refusal,
    Refused,
    decode,
    encode,
)
from adapters.sandbox.frames import HEADER

COUNTS = st.integers(min_value=0, max_value=2**32 - 1)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Opened, COUNTS.filter(bool)),
    st.builds(PageRead, COUNTS, st.text(), st.booleans(), st.booleans()),
    st.builds(Refused, st.sampled_from(Refusal), COUNTS, st.integers(min_value=0, max_value=2**64 - 1)),
    st.just(Finished()),
)


def arrive(frame: bytes) -> Message:
    kind, size = HEADER.unpack_from(frame)
    assert len(frame) == HEADER.size + size
    return decode(kind, frame[HEADER.size :])


@given(
    st.builds(
        Order,
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        COUNTS,
        st.builds(Limits, COUNTS, COUNTS, st.floats(0, 1e6), st.floats(0, 1e6), COUNTS, COUNTS, COUNTS),
    )
)
def test_an_order_arrives_as_it_was_given(order: Order) -> None:
    assert Order.decode(order.encode()) == order


@given(MESSAGES)
def test_messages_arrive_as_they_were_sent(message: Message) -> None:
    assert arrive(encode(message)) == message


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [("\ud83d\ude00", "😀"), ("lone \ud83d", "lone \ufffd"), ("\udc00\ud800", "\ufffd\ufffd"), ("\0", "\0")],
)
def test_text_that_is_no_unicode_arrives_as_some(sent: str, arrived: str) -> None:
    assert arrive(encode(PageRead(1, sent, lost=False, repaired=False))) == PageRead(1, arrived, False, False)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (b"?", b""),
        (b"F", b"more"),
        (b"O", b""),
        (b"O", b"\0\0\0\0"),
        (b"O", b"\0\0\0\1more"),
        (b"P", b"\0\0\0\1"),
        (b"P", b"\0\0\0\1\4text"),
        (b"P", b"\0\0\0\1\0\xff"),
        (b"P", b"\0\0\0\1\0\xed\xa0\xbd"),
        (b"R", b"\0" * 12 + b"boredom"),
        (b"R", b"\0" * 11),
        (b"R", b"\0" * 12 + b"\xff"),
    ],
)
def test_what_is_not_ours_is_refused(kind: bytes, payload: bytes) -> None:
    with pytest.raises(ValueError, match="not one of ours"):
        decode(kind, payload)


@given(st.binary(min_size=1, max_size=1), st.binary(max_size=40))
def test_whatever_comes_is_a_message_or_refused(kind: bytes, payload: bytes) -> None:
    try:
        message = decode(kind, payload)
    except ValueError:
        return
    assert encode(message) == HEADER.pack(kind, len(payload)) + payload
