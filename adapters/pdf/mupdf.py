"""MuPDF as PyMuPDF ships it, without the 69,000 lines of Python around it.

PyMuPDF's extension modules do the work; its `mupdf.py` puts a proxy before each of their classes and functions. With it
the fork server is larger by half, and what a child touches lies scattered over all that: each page of memory touched is
a page copied. So here is a class for each sort of object handled, and the type of each function used, under MuPDF's own
names.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from mmap import mmap
from typing import Any

_mupdf: Any = import_module("pymupdf._mupdf")
_extra: Any = import_module("pymupdf._extra")


class Handle:
    """A reference to an object of MuPDF; the last handle to go takes the object with it."""


class FzStream(Handle):
    """Bytes to read from."""


class FzBuffer(Handle):
    """Bytes in memory."""

    def __bytes__(self) -> bytes:
        return bytes(_mupdf.ll_fz_buffer_to_bytes_internal(_mupdf.FzBuffer_m_internal_get(self), 0))


class FzOutput(Handle):
    """Writes to a buffer, or elsewhere; close it before it goes."""

    def __init__(self, buffer: FzBuffer) -> None:
        _mupdf.FzOutput_swiginit(self, _mupdf.new_FzOutput(buffer))


class FzDocument(Handle):
    """An open document of any format."""


class FzPage(Handle):
    """One page of it."""


class FzStextPage(Handle):
    """The text of a page."""

    def __init__(self, pointer: Any) -> None:
        """Take over what `page_get_textpage` returned."""
        _mupdf.FzStextPage_swiginit(self, _mupdf.new_FzStextPage(pointer))


class PdfDocument(Handle):
    """An open document that is a PDF; false if it is none."""

    def __bool__(self) -> bool:
        return bool(_mupdf.PdfDocument___bool__(self))


class PdfPage(Handle):
    """One page of a PDF."""


class PdfObj(Handle):
    """An object in a PDF; the null object where there is none."""


class DiagnosticCallback(Handle):
    """Has MuPDF say things to `listener` from now on."""

    def __init__(self, kind: str, listener: Callable[[str], object]) -> None:
        """`kind`: "warning" or "error". Keep it: MuPDF does not."""
        _mupdf.DiagnosticCallback_swiginit(self, _mupdf.new_DiagnosticCallback(self, kind))
        self._print = listener  # the name that MuPDF calls


class MupdfError(Exception):
    """What MuPDF failed to do, in its own words."""


#: MuPDF's sorts of errors. It crashes on one that has no class.
ERROR_SORTS = 13


def _register() -> None:
    """Tell the extension module what its objects are to be in Python, and how each is let go of."""
    for kind in Handle.__subclasses__():
        kind.__swig_destroy__ = getattr(_mupdf, f"delete_{kind.__name__}")  # type: ignore[attr-defined]
        getattr(_mupdf, f"{kind.__name__}_swigregister")(kind)
    _mupdf.internal_set_error_classes([MupdfError] * ERROR_SORTS)


if "pymupdf.mupdf" not in sys.modules:  # whoever loaded the proxies works with them, and so does this module
    _register()

FZ_STEXT_PRESERVE_WHITESPACE: int = _mupdf.FZ_STEXT_PRESERVE_WHITESPACE
FZ_STEXT_MEDIABOX_CLIP: int = _mupdf.FZ_STEXT_MEDIABOX_CLIP
FZ_STEXT_USE_CID_FOR_UNKNOWN_UNICODE: int = _mupdf.FZ_STEXT_USE_CID_FOR_UNKNOWN_UNICODE
FZ_STEXT_DEHYPHENATE: int = _mupdf.FZ_STEXT_DEHYPHENATE

reinit_singlethreaded: Callable[[], None] = _mupdf.reinit_singlethreaded
fz_disable_icc: Callable[[], None] = _mupdf.fz_disable_icc
fz_flush_warnings: Callable[[], None] = _mupdf.fz_flush_warnings
fz_empty_store: Callable[[], None] = _mupdf.fz_empty_store

fz_open_document_with_stream: Callable[[str, FzStream], FzDocument] = _mupdf.fz_open_document_with_stream
fz_needs_password: Callable[[FzDocument], int] = _mupdf.fz_needs_password
fz_authenticate_password: Callable[[FzDocument, str], int] = _mupdf.fz_authenticate_password
fz_count_pages: Callable[[FzDocument], int] = _mupdf.fz_count_pages
fz_load_page: Callable[[FzDocument, int], FzPage] = _mupdf.fz_load_page
fz_new_buffer: Callable[[int], FzBuffer] = _mupdf.fz_new_buffer

#: Page, clip, flags and matrix to a pointer for FzStextPage. Raises RuntimeError instead of MupdfError.
page_get_textpage: Callable[[FzPage, None, int, tuple[float, ...]], Any] = _extra.page_get_textpage
#: Writes UTF-8, and an empty line behind each block.
fz_print_stext_page_as_text: Callable[[FzOutput, FzStextPage], None] = _mupdf.fz_print_stext_page_as_text
fz_close_output: Callable[[FzOutput], None] = _mupdf.fz_close_output

pdf_document_from_fz_document: Callable[[FzDocument], PdfDocument] = _mupdf.pdf_document_from_fz_document
pdf_was_repaired: Callable[[PdfDocument], int] = _mupdf.pdf_was_repaired
pdf_has_unsaved_changes: Callable[[PdfDocument], int] = _mupdf.pdf_has_unsaved_changes
pdf_clear_xref: Callable[[PdfDocument], None] = _mupdf.pdf_clear_xref
pdf_load_raw_stream_number: Callable[[PdfDocument, int], FzBuffer] = _mupdf.pdf_load_raw_stream_number
pdf_page_from_fz_page: Callable[[FzPage], PdfPage] = _mupdf.pdf_page_from_fz_page
PdfPage_obj: Callable[[PdfPage], PdfObj] = _mupdf.PdfPage_obj

pdf_is_array: Callable[[PdfObj], int] = _mupdf.pdf_is_array
pdf_is_dict: Callable[[PdfObj], int] = _mupdf.pdf_is_dict
pdf_is_indirect: Callable[[PdfObj], int] = _mupdf.pdf_is_indirect
pdf_is_null: Callable[[PdfObj], int] = _mupdf.pdf_is_null
pdf_is_stream: Callable[[PdfObj], int] = _mupdf.pdf_is_stream
pdf_to_int: Callable[[PdfObj], int] = _mupdf.pdf_to_int
pdf_to_name: Callable[[PdfObj], str] = _mupdf.pdf_to_name
pdf_to_num: Callable[[PdfObj], int] = _mupdf.pdf_to_num
pdf_new_int: Callable[[int], PdfObj] = _mupdf.pdf_new_int
pdf_array_get: Callable[[PdfObj, int], PdfObj] = _mupdf.pdf_array_get
pdf_array_len: Callable[[PdfObj], int] = _mupdf.pdf_array_len
pdf_dict_gets: Callable[[PdfObj, str], PdfObj] = _mupdf.pdf_dict_gets
pdf_dict_gets_inheritable: Callable[[PdfObj, str], PdfObj] = _mupdf.pdf_dict_gets_inheritable
pdf_dict_get_val: Callable[[PdfObj, int], PdfObj] = _mupdf.pdf_dict_get_val
pdf_dict_len: Callable[[PdfObj], int] = _mupdf.pdf_dict_len
pdf_dict_puts: Callable[[PdfObj, str, PdfObj], None] = _mupdf.pdf_dict_puts


def fz_open_memory(content: bytes | mmap) -> FzStream:
    """Open bytes, which must outlive the stream."""
    stream: FzStream = _mupdf.fz_open_memory(_mupdf.python_buffer_data(content), len(content))
    return stream
