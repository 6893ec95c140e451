"""Finds pages that lost text although the parser raised nothing.

A truncated file opens after a repair, and pages whose streams or fonts were cut off read as empty or as gibberish. So
once MuPDF repaired a file or stumbled over a compressed stream, every object that a page needs for its text must be
there and whole. A healthy file never gets this far: its pages cost nothing extra.
"""

import re
import zlib
from collections.abc import Callable
from enum import Enum
from mmap import mmap

from adapters.pdf import mupdf
from adapters.pdf.mupdf import PdfObj

#: Warnings that only raise suspicion: each of them also occurs in files that lost nothing.
_SUSPICIOUS = re.compile(
    r"zlib|flate|premature end|not a stream|Length incorrect|cannot load object|page tree", re.IGNORECASE
)
_OBJECT_START = re.compile(rb"(?<!\d)(\d{1,10})\s+\d{1,5}\s+obj\b")
_PIECE_BYTES = 1 << 16
_ZLIB_HEADER_BYTES = 2
_ZLIB_CHECKSUM_BYTES = 4
_TAIL_BYTES = 64
_FLUSHED = b"\x00\x00\xff\xff"
#: Ends of a text object, a graphics state and marked content: a page's operators rarely end otherwise.
_CLOSING = (b"ET", b"Q", b"EMC")


class DamageFinder:
    """Knows which objects of one document are missing or cut; remembers its verdict on each."""

    def __init__(self, document: mupdf.FzDocument, content: bytes | mmap) -> None:
        self._pdf = mupdf.pdf_document_from_fz_document(document)
        self._content = content
        self._suspicious = False
        self._cut: int | None = None
        self._verdicts: dict[int, bool] = {}

    @property
    def is_repaired(self) -> bool:
        """Tell whether the structure had to be mended so far."""
        return bool(mupdf.pdf_was_repaired(self._pdf))

    def lost_text(self, page: PdfObj, warnings: str) -> bool:
        """Tell whether something that this page's text needs is missing; `warnings` are those of reading it."""
        if not self._suspicious and (self.is_repaired or _SUSPICIOUS.search(warnings)):
            self._suspicious = True
            self._cut = find_cut_object(self._content)
        return self._suspicious and not self._is_whole_page(page)

    def _is_whole_page(self, node: PdfObj) -> bool:
        resources = mupdf.pdf_dict_gets_inheritable(node, "Resources")
        return (
            bool(mupdf.pdf_is_dict(node))
            and self._are_whole_contents(mupdf.pdf_dict_gets(node, "Contents"))
            and self._are_whole_resources(resources)
        )

    def _are_whole_contents(self, contents: PdfObj) -> bool:
        """Judge one stream or an array of them; a page that names none is blank, not lost."""
        streams = _children(contents) if mupdf.pdf_is_array(contents) else [contents]
        return self._is_there(contents) and all(self._once(stream, self._is_genuine_stream) for stream in streams)

    def _are_whole_resources(self, resources: PdfObj) -> bool:
        """Judge fonts and whatever may draw text; colours, patterns and states carry none."""
        drawings = mupdf.pdf_dict_gets(resources, "XObject")
        return (
            self._is_there(resources)
            and self._is_whole(mupdf.pdf_dict_gets(resources, "Font"))
            and self._is_there(drawings)
            and all(self._once(drawing, self._is_whole_drawing) for drawing in _children(drawings))
        )

    def _is_whole_drawing(self, drawing: PdfObj) -> bool:
        """Judge a form by its stream and what that draws with; images carry no text."""
        if mupdf.pdf_to_name(mupdf.pdf_dict_gets(drawing, "Subtype")) == "Image":
            return True
        return self._is_genuine_stream(drawing) and self._are_whole_resources(mupdf.pdf_dict_gets(drawing, "Resources"))

    def _is_whole(self, thing: PdfObj) -> bool:
        """Judge an object and everything it refers to."""
        return self._once(thing, self._are_whole_children)

    def _are_whole_children(self, thing: PdfObj) -> bool:
        return self._deflated(thing) is not Deflated.BROKEN and all(self._is_whole(child) for child in _children(thing))

    def _once(self, thing: PdfObj, verdict: Callable[[PdfObj], bool]) -> bool:
        """Ask once per object. It counts as whole while it is being judged, so that cycles end."""
        number = mupdf.pdf_to_num(thing)
        if number == 0:
            return verdict(thing)
        if number not in self._verdicts:
            self._verdicts[number] = True
            self._verdicts[number] = self._is_there(thing) and verdict(thing)
        return self._verdicts[number]

    def _is_there(self, thing: PdfObj) -> bool:
        """Tell whether a reference leads somewhere; what the end of the file cut off is not there.

        In a file that needed no repair a reference to nothing is legal and means null (ISO 32000-1, 7.3.10).
        """
        if not self.is_repaired or not mupdf.pdf_is_indirect(thing):
            return True
        return not mupdf.pdf_is_null(thing) and mupdf.pdf_to_num(thing) != self._cut

    def _is_genuine_stream(self, stream: PdfObj) -> bool:
        """Tell whether operators that draw text are what was written: here a wrong checksum means wrong words."""
        return self._deflated(stream) is Deflated.WHOLE

    def _deflated(self, thing: PdfObj) -> "Deflated":
        """Inspect a deflated stream; other filters, and things that are no streams, are trusted."""
        if not mupdf.pdf_is_stream(thing):
            return Deflated.WHOLE
        filters = mupdf.pdf_dict_gets(thing, "Filter")
        first = mupdf.pdf_array_get(filters, 0) if mupdf.pdf_is_array(filters) else filters
        if mupdf.pdf_to_name(first) not in ("FlateDecode", "Fl"):
            return Deflated.WHOLE
        raw = mupdf.pdf_load_raw_stream_number(self._pdf, mupdf.pdf_to_num(thing))
        return inspect_deflated(bytes(raw))


class Deflated(Enum):
    """What compressed data is good for. `CHANGED`: it ends well, but its checksum belongs to other data."""

    WHOLE = "whole"
    CHANGED = "changed"
    UNFINISHED = "unfinished"
    BROKEN = "broken"


def inspect_deflated(content: bytes) -> Deflated:
    """Inflate a zlib stream piece by piece, so that a bomb costs time only.

    Some writers forget the checksum, or flush instead of finishing: what ends at a flush or behind a closing operator
    is whole.
    """
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    rest, checksum, tail = content[_ZLIB_HEADER_BYTES:], 1, b""
    try:
        while rest and not inflate.eof:
            piece = inflate.decompress(rest, _PIECE_BYTES)
            checksum = zlib.adler32(piece, checksum)
            tail = (tail + piece)[-_TAIL_BYTES:]
            rest = inflate.unconsumed_tail
    except zlib.error:
        return Deflated.BROKEN
    if not inflate.eof:
        ended = not content or content.rstrip().endswith(_FLUSHED) or tail.rstrip().endswith(_CLOSING)
        return Deflated.WHOLE if ended else Deflated.UNFINISHED
    expected = inflate.unused_data[:_ZLIB_CHECKSUM_BYTES]
    genuine = len(expected) < _ZLIB_CHECKSUM_BYTES or int.from_bytes(expected) == checksum
    return Deflated.WHOLE if genuine else Deflated.CHANGED


def find_cut_object(content: bytes | mmap) -> int | None:
    """Return the number of the object that begins behind the last complete one: the end of the file cut it off."""
    end = max(content.rfind(b"endobj"), content.rfind(b"endstream"))
    start = _OBJECT_START.search(content, end, end + _PIECE_BYTES) if end >= 0 else None
    return int(start[1]) if start else None


def _children(thing: PdfObj) -> list[PdfObj]:
    if mupdf.pdf_is_array(thing):
        return [mupdf.pdf_array_get(thing, index) for index in range(mupdf.pdf_array_len(thing))]
    return [mupdf.pdf_dict_get_val(thing, index) for index in range(mupdf.pdf_dict_len(thing))]
