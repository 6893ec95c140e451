"""Reads one PDF with MuPDF. Runs in the parser child alone.

It uses the MuPDF bindings below PyMuPDF's own classes, which load outline and metadata of every file and touch twice
the memory: 1.3 ms a document and 0.1 ms a page.
"""

# PyMuPDF ships a py.typed marker, but its methods carry no types.
# mypy: allow-untyped-calls

import encodings.raw_unicode_escape  # noqa: F401 - PyMuPDF decodes with it when no file can be opened any more
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pymupdf
from pymupdf import mupdf

from adapters.pdf.child import close_the_door
from adapters.pdf.damage import DamageFinder
from adapters.pdf.protocol import Finished, Limits, Message, Opened, Order, PageRead, Refusal, Refused

#: A PDF names itself within its first kilobyte (ISO 32000-1, 7.5.2 and Adobe's implementation note 13).
MAGIC = b"%PDF-"
MAGIC_WITHIN_BYTES = 1024

#: Measured on a book with human truth (Levenshtein ratio): ligatures spelled out 93.2 to 93.7, words joined over line
#: ends 93.8. Images stay undecoded. `sort=True` costs ten times the time.
TEXT_FLAGS = (
    pymupdf.TEXT_PRESERVE_WHITESPACE
    | pymupdf.TEXT_MEDIABOX_CLIP
    | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
    | pymupdf.TEXT_DEHYPHENATE
)

_OPTIONS = mupdf.FzStextOptions(TEXT_FLAGS)

#: MuPDF turns a failed allocation into an ordinary page error, or into a mere warning and a page without its text.
_OUT_OF_MEMORY = re.compile(r"alloc\w* \(?.*failed|bad_alloc|out of memory", re.IGNORECASE)


def read_document(order: Order) -> Iterator[Message]:
    """Yield Opened, one PageRead a page and Finished, or Refused at the point where reading ends.

    A page that raises is lost, the next one is still read. Raises MemoryError when an allocation failed anywhere.
    """
    try:
        stream = Path(order.file).open("rb")  # noqa: SIM115 - only opening it may fail this way
    except OSError:
        yield Refused(Refusal.UNREADABLE, 0)
        return
    with stream:
        document = open_document(stream, order)
        if isinstance(document, Refused):
            yield document
            return
        yield Opened(mupdf.fz_count_pages(document))
        yield from read_pages(document, order, DamageFinder(document, stream))


def open_document(stream: BinaryIO, order: Order) -> mupdf.FzDocument | Refused:
    """Open the file, or say why not. `stream` is the same file."""
    head = stream.read(MAGIC_WITHIN_BYTES)
    if MAGIC not in head:
        return Refused(Refusal.NOT_A_PDF if head else Refusal.EMPTY, 0)
    prepare_mupdf()
    try:
        document = mupdf.fz_open_document_with_stream("pdf", mupdf.fz_open_file(order.file))
        close_the_door()
        return _refuse_document(document, order.limits) or document
    except Exception as error:
        _raise_unless_damage(error)
        return Refused(Refusal.DAMAGED, 0)


def read_pages(document: mupdf.FzDocument, order: Order, damage: DamageFinder) -> Iterator[Message]:
    """Yield the pages from the ordered one on, within the limits on text."""
    characters = 0
    for number in range(order.first_page, mupdf.fz_count_pages(document) + 1):
        page = read_page(document, number, damage)
        characters += len(page.text)
        if len(page.text) > order.limits.page_characters:
            yield Refused(Refusal.LONG_PAGE, number, len(page.text))
            return
        if characters > order.limits.characters:
            yield Refused(Refusal.LONG_DOCUMENT, number, characters)
            return
        yield page
    yield Finished()


def read_page(document: mupdf.FzDocument, number: int, damage: DamageFinder) -> PageRead:
    """Read one page; what an error leaves of it is an empty, lost page."""
    try:
        page = mupdf.fz_load_page(document, number - 1)
        node = mupdf.pdf_page_from_fz_page(page).obj()
        text = _read_text(page, node)
        lost = damage.lost_text(node, _take_warnings())
    except Exception as error:
        _raise_unless_damage(error)
        text, lost = "", True
    return PageRead(number, text, lost, damage.is_repaired)


def _read_text(page: mupdf.FzPage, node: mupdf.PdfObj) -> str:
    """Return the page's text. A page that is shown turned is read as it was written."""
    if mupdf.pdf_to_int(mupdf.pdf_dict_get_inheritable(node, mupdf.PDF_ENUM_NAME_Rotate)):
        mupdf.pdf_dict_put_int(node, mupdf.PDF_ENUM_NAME_Rotate, 0)
    text = mupdf.FzStextPage(mupdf.fz_bound_page(page))
    device = mupdf.fz_new_stext_device(text, _OPTIONS)
    mupdf.fz_run_page(page, device, mupdf.FzMatrix(), mupdf.FzCookie())
    mupdf.fz_close_device(device)
    return str(pymupdf.TextPage(text).extractText())


def _refuse_document(document: mupdf.FzDocument, limits: Limits) -> Refused | None:
    pdf = mupdf.pdf_document_from_fz_document(document)
    if not pdf.m_internal:
        return Refused(Refusal.NOT_A_PDF, 0)
    if mupdf.fz_needs_password(document) and not mupdf.fz_authenticate_password(document, ""):
        return Refused(Refusal.ENCRYPTED, 0)
    count = mupdf.fz_count_pages(document)
    if count < 1:
        return Refused(Refusal.DAMAGED if mupdf.pdf_was_repaired(pdf) or _take_warnings() else Refusal.NO_PAGES, 0)
    return Refused(Refusal.TOO_MANY_PAGES, 0, count) if count > limits.pages else None


def prepare_mupdf() -> None:
    """Keep MuPDF's messages for us, for it prints errors to stdout otherwise, and spare it the colours of the text.

    With colour management the first CMYK colour costs 35 ms, each colour profile some more.
    """
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    pymupdf.TOOLS.reset_mupdf_warnings()
    pymupdf.TOOLS.set_icc(False)


def _take_warnings() -> str:
    """Return what MuPDF said since the last call. Raises MemoryError when a failed allocation is among it."""
    warnings = str(pymupdf.TOOLS.mupdf_warnings(reset=True))
    if _OUT_OF_MEMORY.search(warnings):
        raise MemoryError
    return warnings


def _raise_unless_damage(error: Exception) -> None:
    """Let through what the file is not to blame for: no memory, and faults of this program behind closed doors."""
    if isinstance(error, (OSError, ImportError)):
        raise error
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        raise MemoryError from error
    _take_warnings()
