"""What an upload is measured against while it passes."""

import hashlib

import pytest

from domain.errors import FailureCode, PermanentError
from domain.intake import MAGIC_WINDOW, Upload, clean_name

PDF = b"%PDF-1.7\n"


def read(*parts: bytes, max_bytes: int = 10_000) -> Upload:
    upload = Upload(parts, max_bytes=max_bytes)
    assert b"".join(upload) == b"".join(parts)
    return upload


def test_size_and_hash_are_those_of_the_whole() -> None:
    upload = read(PDF, b"a" * 2000, b"b")

    assert upload.byte_count == 2010
    assert upload.sha256 == hashlib.sha256(PDF + b"a" * 2000 + b"b").digest()


@pytest.mark.parametrize(
    "parts",
    [(b"%", b"P", b"D", b"F", b"-"), (b"", PDF), (b"junk before it " + PDF,), (b"x" * (MAGIC_WINDOW - 5), PDF)],
    ids=["byte by byte", "after nothing", "after junk", "at the end of the window"],
)
def test_a_pdf_is_recognised(parts: tuple[bytes, ...]) -> None:
    read(*parts)


@pytest.mark.parametrize(
    "parts",
    [(), (b"",), (b"%PDF",), (b"GIF89a" + b"x" * 5000,), (b"x" * MAGIC_WINDOW, PDF)],
    ids=["no part", "no byte", "half the mark", "a picture", "the mark too late"],
)
def test_anything_else_is_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(PermanentError) as caught:
        read(*parts)

    assert caught.value.code is FailureCode.NOT_A_PDF
    assert "%PDF-" in caught.value.message


def test_something_else_is_refused_before_it_has_passed() -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"x" * 512

    with pytest.raises(PermanentError):
        list(Upload(endless(), max_bytes=10**9))

    assert len(taken) <= 3


def test_the_limit_itself_is_allowed() -> None:
    read(PDF, b"x" * 91, max_bytes=100)


def test_one_byte_more_is_refused_in_a_sentence() -> None:
    with pytest.raises(PermanentError, match=r"larger than 1,000 bytes") as caught:
        read(PDF, b"x" * 992, max_bytes=1000)

    assert caught.value.code is FailureCode.TOO_LARGE


def test_a_name_that_is_no_text_becomes_one() -> None:
    assert clean_name("M\udcfchle\0.pdf") == "M?hle.pdf"
    assert len(clean_name("a" * 400)) == 255
