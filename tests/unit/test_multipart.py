"""Multipart bodies are read as they arrive, whatever the pieces, and end only at their proper end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.api.multipart import Event, FileBegins, FileBytes, FileEnds, read_multipart
from adapters.api.problems import Problem

FORM = "multipart/form-data; boundary=BB"
HEAD = b'--BB\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: application/pdf\r\n\r\n'
END = b"\r\n--BB--\r\n"


def read(pieces: Sequence[bytes], content_type: str = FORM) -> list[Event]:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[Event]:
        return [event async for event in read_multipart(content_type, body())]

    return asyncio.run(collect())


def files(events: Sequence[Event]) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for event in events:
        if isinstance(event, FileBegins):
            found.append((event.name, b""))
        elif isinstance(event, FileBytes):
            found[-1] = (found[-1][0], found[-1][1] + event.content)
    assert sum(isinstance(event, FileEnds) for event in events) == len(found)
    return found


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[start:end] for start, end in pairwise(edges)]


@given(content=st.binary(max_size=300), places=st.lists(st.integers(0, 10_000), max_size=30))
def test_the_content_survives_any_cut(content: bytes, places: list[int]) -> None:
    content = content.replace(b"\r\n--BB", b"")

    assert files(read(cut(HEAD % b"a.pdf" + content + END, places))) == [("a.pdf", content)]


@given(kept=st.integers(0, 10_000), places=st.lists(st.integers(0, 10_000), max_size=5))
def test_a_body_that_is_cut_off_never_ends_well(kept: int, places: list[int]) -> None:
    body = HEAD % b"a.pdf" + b"%PDF-1.7 river" + END.rstrip()
    cut_off = body[: kept % (len(body))]

    with pytest.raises(Problem) as caught:
        read(cut(cut_off, places))

    assert caught.value.status == 400


@given(noise=st.binary(max_size=400))
def test_noise_is_refused_with_a_problem(noise: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read([noise])

    assert caught.value.status in (400, 422)


def test_several_files_keep_their_order_and_names() -> None:
    body = HEAD % b"a.pdf" + b"1" + b"\r\n" + HEAD % "Mühle.pdf".encode() + b"2" + END

    assert files(read([body])) == [("a.pdf", b"1"), ("Mühle.pdf", b"2")]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/pdf", 415),
        ("", 415),
        ("multipart/form-data", 400),
        (f"multipart/form-data; boundary={'x' * 300}", 400),
    ],
)
def test_another_content_type_is_refused(content_type: str, status: int) -> None:
    with pytest.raises(Problem) as caught:
        read([b"x"], content_type)

    assert caught.value.status == status


def test_a_field_that_is_no_file_is_refused() -> None:
    with pytest.raises(Problem, match="must be a file") as caught:
        read([b'--BB\r\nContent-Disposition: form-data; name="x"\r\n\r\n1' + END])

    assert caught.value.status == 422


@pytest.mark.parametrize("header", [b"X: " + b"y" * 10_000 + b"\r\n", b"X: y\r\n" * 20])
def test_headers_of_a_part_are_bounded(header: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read([b"--BB\r\n" + header + b"\r\n1" + END])

    assert caught.value.status == 400
