"""Reads one PDF with MuPDF. Runs in the parser child alone.

It uses MuPDF itself, not PyMuPDF's classes: those load outline and metadata of every file.
"""

import errno
import os
import re
from collections.abc import Iterator
from functools import cache
from mmap import ACCESS_READ, mmap

from adapters.pdf import mupdf
from adapters.pdf.damage import DamageFinder
from adapters.pdf.protocol import Finished, Limits, Message, Opened, Order, PageRead, Refusal, Refused
from adapters.sandbox.confinement import close_the_door

#: A PDF names itself within its first kilobyte (ISO 32000-1, 7.5.2 and Adobe's implementation note 13).
MAGIC = b"%PDF-"
MAGIC_WITHIN_BYTES = 1024

#: Measured on a book with human truth (Levenshtein ratio): ligatures spelled out 93.2 to 93.7, words joined over line
#: ends 93.8. Images stay undecoded. `sort=True` costs ten times the time.
TEXT_FLAGS = (
    mupdf.FZ_STEXT_PRESERVE_WHITESPACE
    | mupdf.FZ_STEXT_MEDIABOX_CLIP
    | mupdf.FZ_STEXT_USE_CID_FOR_UNKNOWN_UNICODE
    | mupdf.FZ_STEXT_DEHYPHENATE
)
_BUFFER_BYTES = 1 << 13
_NUL = b"\xc0\x80"
#: MuPDF does not keep whom it talks to.
_LISTENING: list[mupdf.DiagnosticCallback] = []
_UNTURNED = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

#: MuPDF keeps every object and font that it has seen: 40 KB a page of a document joined from many.
FORGET_PAGES = 128

#: MuPDF turns a failed allocation into an ordinary page error, or into a mere warning and a page without its text.
_OUT_OF_MEMORY = re.compile(r"alloc\w* \(?.*failed|bad_alloc|out of memory", re.IGNORECASE)


def read_document(order: Order) -> Iterator[Message]:
    """Yield Opened, one PageRead a page and Finished, or Refused at the point where reading ends.

    A page that raises is lost, the next one is still read. Raises MemoryError when an allocation failed anywhere.
    """
    try:
        content = map_file(order.file)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        yield Refused(Refusal.UNREADABLE, 0)
        return
    document = open_document(content, order.limits)
    if isinstance(document, Refused):
        yield document
        return
    yield Opened(mupdf.fz_count_pages(document))
    yield from read_pages(document, order, DamageFinder(document, content))


def map_file(name: str) -> bytes | mmap:
    """Return what is in the file. MuPDF reads a file 4 KiB at a time and many of them often: 50 system calls a page."""
    descriptor = os.open(name, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        return mmap(descriptor, size, access=ACCESS_READ) if size else b""
    finally:
        os.close(descriptor)


def open_document(content: bytes | mmap, limits: Limits) -> mupdf.FzDocument | Refused:
    """Open a file's content, which must outlive the document, or say why not."""
    if MAGIC not in content[:MAGIC_WITHIN_BYTES]:
        return Refused(Refusal.NOT_A_PDF if content else Refusal.EMPTY, 0)
    close_the_door()
    prepare_mupdf().clear()
    try:
        document = mupdf.fz_open_document_with_stream("pdf", mupdf.fz_open_memory(content))
        return _refuse_document(document, limits) or document
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
        if number % FORGET_PAGES == 0:
            forget(document, damage)
    yield Finished()


def forget(document: mupdf.FzDocument, damage: DamageFinder) -> None:
    """Let go of what MuPDF keeps of the pages so far; what later pages share is loaded again.

    Of a repaired file it keeps the objects, some of which are in memory only. So it does once a page was turned: MuPDF
    would look for the changed object where it no longer is, and "repair" a healthy file.
    """
    mupdf.fz_empty_store()
    pdf = mupdf.pdf_document_from_fz_document(document)
    if not damage.is_repaired and not mupdf.pdf_has_unsaved_changes(pdf):
        mupdf.pdf_clear_xref(pdf)


def read_page(document: mupdf.FzDocument, number: int, damage: DamageFinder) -> PageRead:
    """Read one page; what an error leaves of it is an empty, lost page."""
    try:
        page = mupdf.fz_load_page(document, number - 1)
        node = mupdf.PdfPage_obj(mupdf.pdf_page_from_fz_page(page))
        text = _read_text(page, node)
        lost = damage.lost_text(node, _take_warnings())
    except Exception as error:
        _raise_unless_damage(error)
        text, lost = "", True
    return PageRead(number, text, lost, damage.is_repaired)


def _read_text(page: mupdf.FzPage, node: mupdf.PdfObj) -> str:
    """Return the page's text. A page that is shown turned is read as it was written."""
    if mupdf.pdf_to_int(mupdf.pdf_dict_gets_inheritable(node, "Rotate")):
        mupdf.pdf_dict_puts(node, "Rotate", mupdf.pdf_new_int(0))
    text = mupdf.FzStextPage(mupdf.page_get_textpage(page, None, TEXT_FLAGS, _UNTURNED))
    buffer = mupdf.fz_new_buffer(_BUFFER_BYTES)
    output = mupdf.FzOutput(buffer)
    mupdf.fz_print_stext_page_as_text(output, text)
    mupdf.fz_close_output(output)
    return _plain(bytes(buffer)).decode("utf-8", "surrogatepass")


def _plain(printed: bytes) -> bytes:
    """Leave out empty lines, which are the ends of blocks, and NUL, which MuPDF writes as Java does.

    PyMuPDF's own printer leaves out the former, too, and takes three times as long.
    """
    text = printed.replace(_NUL, b"")
    while b"\n\n" in text:
        text = text.replace(b"\n\n", b"\n")
    return text.removeprefix(b"\n")


def _refuse_document(document: mupdf.FzDocument, limits: Limits) -> Refused | None:
    pdf = mupdf.pdf_document_from_fz_document(document)
    if not pdf:
        return Refused(Refusal.NOT_A_PDF, 0)
    if mupdf.fz_needs_password(document) and not mupdf.fz_authenticate_password(document, ""):
        return Refused(Refusal.ENCRYPTED, 0)
    count = mupdf.fz_count_pages(document)
    if count < 1:
        return Refused(Refusal.DAMAGED if mupdf.pdf_was_repaired(pdf) or _take_warnings() else Refusal.NO_PAGES, 0)
    return Refused(Refusal.TOO_MANY_PAGES, 0, count) if count > limits.pages else None


@cache
def prepare_mupdf() -> list[str]:
    """Have MuPDF's messages from now on in the list returned; otherwise it prints errors to stdout.

    And spare it the colours of the text: with colour management the first CMYK colour costs 35 ms, each profile more.
    """
    said: list[str] = []
    _LISTENING.extend(mupdf.DiagnosticCallback(kind, said.append) for kind in ("warning", "error"))
    mupdf.fz_disable_icc()
    return said


def _take_warnings() -> str:
    """Return what MuPDF said since the last call. Raises MemoryError when a failed allocation is among it."""
    mupdf.fz_flush_warnings()
    said = prepare_mupdf()
    warnings = "\n".join(said)
    said.clear()
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
