"""Recipes say exactly what is wrong with them; files are what their bytes say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.images.protocol import Limits, Made, Order, Refusal, Refused, decode, encode_picture, encode_refusal
from adapters.sandbox.frames import HEADER
from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.filetypes import FileType, describe, find_type
from domain.media import Format, Recipe, parse_recipe, thumbnail_recipe
from domain.media_processing import require_image

LIMITS = Limits(memory_bytes=1, cpu_seconds=2, wall_seconds=3.5, pixels=4, frames=5, result_bytes=6)


def test_a_recipe_survives_being_written_down() -> None:
    recipe = thumbnail_recipe(10, 20, fit="cover", file_format="avif", page=7, max_bytes=99)

    assert parse_recipe(recipe.as_json()) == recipe


def test_what_is_left_out_has_a_default() -> None:
    assert parse_recipe({}) == Recipe()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"colour": "red"}, "no colour"),
        ({"format": "bmp"}, "format must be one of jpeg"),
        ({"quality": 0}, "quality must be a whole number from 1 to 100"),
        ({"quality": True}, "quality must be a whole number"),
        ({"quality": 50.0}, "quality must be a whole number"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"animated": 1}, "animated must be true or false"),
        ({"operations": "crop"}, "operations must be a list"),
        ({"operations": [{"op": "grayscale"}] * 21}, "at most 20"),
        ({"operations": ["crop"]}, "an operation must be an object"),
        ({"operations": [{}]}, "op must be one of"),
        ({"operations": [{"op": "resize", "width": 1}]}, "resize.height must be a whole number from 1 to 16383"),
        ({"operations": [{"op": "resize", "width": 1, "height": 10**9}]}, "resize.height"),
        ({"operations": [{"op": "rotate", "degrees": 91}]}, "90, 180 or 270"),
        ({"operations": [{"op": "flip", "axis": "z"}]}, "flip.axis must be one of horizontal, vertical"),
        ({"operations": [{"op": "grayscale", "width": 3}]}, "grayscale has no width"),
    ],
)
def test_a_wrong_recipe_names_its_fault(written: Any, words: str) -> None:
    with pytest.raises(InvalidJobError, match=words):
        parse_recipe(written)


@pytest.mark.parametrize(
    ("head", "file_type"),
    [
        (b"\xff\xd8\xff\xe0..", FileType.JPEG),
        (b"\x89PNG\r\n\x1a\n", FileType.PNG),
        (b"RIFF\0\0\0\0WEBPVP8 ", FileType.WEBP),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"GIF89a", FileType.GIF),
        (b"II*\0", FileType.TIFF),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", FileType.AVIF),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", None),
        (b"junk\n%PDF-1.4", FileType.PDF),
        (b"\xff\xd8\xff %PDF-1.4", FileType.JPEG),
        (b"PK\x03\x04", None),
        (b"", None),
    ],
)
def test_a_file_is_what_its_first_bytes_say(head: bytes, file_type: FileType | None) -> None:
    assert find_type(head) is file_type


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"PK\x03\x04", "Office"),
        (b"  <SVG>", "SVG"),
        (b"", "empty"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"?", "unknown"),
    ],
)
def test_a_refusal_says_what_the_file_seems_to_be(head: bytes, words: str) -> None:
    assert words in describe(head)
    with pytest.raises(PermanentError, match=words) as caught:
        require_image(head)
    assert caught.value.code is FailureCode.NOT_AN_IMAGE


def test_a_pdf_is_no_image() -> None:
    with pytest.raises(PermanentError, match="a PDF"):
        require_image(b"%PDF-1.7")


def test_an_order_survives_the_pipe() -> None:
    order = Order("/tmp/\udcff.png", thumbnail_recipe(), LIMITS)

    assert Order.decode(order.encode()) == order


def frames_of(content: bytes) -> list[Any]:
    messages = []
    while content:
        kind, size = HEADER.unpack_from(content)
        messages.append(decode(kind, content[HEADER.size : HEADER.size + size]))
        content = content[HEADER.size + size :]
    return messages


def test_a_picture_survives_the_pipe() -> None:
    content = bytes(range(256)) * 3000
    made = Made(Format.WEBP, 3, 4, 1, False, len(content))

    said, *parts = frames_of(b"".join(encode_picture(made, content)))

    assert (said, b"".join(parts)) == (made, content)


def test_a_refusal_survives_the_pipe() -> None:
    refused = Refused(Refusal.TOO_MANY_PIXELS, 7, 6)

    assert frames_of(encode_refusal(refused)) == [refused]


@given(kind=st.sampled_from([b"M", b"R", b"D", b"X"]), payload=st.binary(max_size=80) | st.just(b"[" * 50_000))
def test_nothing_a_child_says_breaks_its_parent(kind: bytes, payload: bytes) -> None:
    try:
        message = decode(kind, payload)
    except ValueError:
        return
    assert (kind, message) == (b"D", payload)
