"""What tells lost text from a harmless repair."""

import zlib
from pathlib import Path

import pytest

from adapters.pdf.damage import Deflated, find_cut_object, inspect_deflated
from tests import pdf_files

WHOLE = zlib.compress(pdf_files.WORDS.encode() * 40)


def flushed() -> bytes:
    compressor = zlib.compressobj()
    return compressor.compress(pdf_files.WORDS.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (WHOLE, Deflated.WHOLE),
        (WHOLE + b"\r\n", Deflated.WHOLE),
        (WHOLE[:-4], Deflated.WHOLE),
        (b"", Deflated.WHOLE),
        (changed(WHOLE), Deflated.CHANGED),
        (flushed(), Deflated.WHOLE),
        (zlib.compress(b"BT (words) Tj ET", 0)[:-4], Deflated.WHOLE),
        (WHOLE[: len(WHOLE) // 2], Deflated.UNFINISHED),
        (b"\0" * 64, Deflated.BROKEN),
    ],
    ids=["whole", "newline behind", "no checksum", "empty", "wrong checksum", "flushed", "closed", "cut", "zeros"],
)
def test_compressed_data_tells_whether_it_is_whole(content: bytes, verdict: Deflated) -> None:
    assert inspect_deflated(content) is verdict


def test_a_bomb_is_inspected_in_little_memory() -> None:
    assert inspect_deflated(zlib.compress(b" " * 50_000_000)) is Deflated.WHOLE


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n2 0 obj\n<</Len", 2),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n12 0 obj\n<<>>stream\n" + b"\xff" * 200_000, 12),
        (b"%PDF-1.7\n1 0 obj\n<<>>stream\nx\nendstream", None),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\nxref\n0 1\n", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_the_object_that_the_end_cut_off_is_found(content: bytes, number: int | None) -> None:
    assert find_cut_object(content) == number


def test_a_whole_file_has_no_cut_object(tmp_path: Path) -> None:
    assert find_cut_object(pdf_files.long_pdf(tmp_path / "whole.pdf").read_bytes()) is None
