"""Reads one PDF with PyMuPDF. Runs in the parser child alone."""

# PyMuPDF ships a py.typed marker, but its methods carry no types.
# mypy: allow-untyped-calls

import encodings.raw_unicode_escape  # noqa: F401 - PyMuPDF decodes with it when no file can be opened any more
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pymupdf

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
        yield Opened(document.page_count)
        yield from read_pages(document, order, DamageFinder(document, stream))


def open_document(stream: BinaryIO, order: Order) -> pymupdf.Document | Refused:
    """Open the file, or say why not. `stream` is the same file."""
    head = stream.read(MAGIC_WITHIN_BYTES)
    if MAGIC not in head:
        return Refused(Refusal.NOT_A_PDF if head else Refusal.EMPTY, 0)
    silence_mupdf()
    try:
        document = pymupdf.open(order.file, filetype="pdf")
        close_the_door()
        return _refuse_document(document, order.limits) or document
    except Exception as error:
        _raise_unless_damage(error)
        return Refused(Refusal.DAMAGED, 0)


def read_pages(document: pymupdf.Document, order: Order, damage: DamageFinder) -> Iterator[Message]:
    """Yield the pages from the ordered one on, within the limits on text."""
    characters = 0
    for number in range(order.first_page, document.page_count + 1):
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


def read_page(document: pymupdf.Document, number: int, damage: DamageFinder) -> PageRead:
    """Read one page; what an error leaves of it is an empty, lost page."""
    try:
        page = document[number - 1]
        text = page.get_text("text", flags=TEXT_FLAGS)
        warnings = _take_warnings()
        lost = damage.lost_text(page, warnings)
    except Exception as error:
        _raise_unless_damage(error)
        text, lost = "", True
    return PageRead(number, text, lost, bool(document.is_repaired))


def _refuse_document(document: pymupdf.Document, limits: Limits) -> Refused | None:
    if not document.is_pdf:
        return Refused(Refusal.NOT_A_PDF, 0)
    if document.needs_pass and not document.authenticate(""):
        return Refused(Refusal.ENCRYPTED, 0)
    count = document.page_count
    if count < 1:
        return Refused(Refusal.DAMAGED if document.is_repaired or _take_warnings() else Refusal.NO_PAGES, 0)
    return Refused(Refusal.TOO_MANY_PAGES, 0, count) if count > limits.pages else None


def silence_mupdf() -> None:
    """Keep MuPDF's messages for us: it prints errors to stdout otherwise."""
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    pymupdf.TOOLS.reset_mupdf_warnings()


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
