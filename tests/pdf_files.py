"""Small PDFs built in code, and stand-ins for the parser child that go wrong in one way each.

The stand-ins run in the child, which imports this module by its name.
"""

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pymupdf

from adapters.pdf import child
from adapters.pdf.protocol import Finished, Message, Opened, Order, PageRead
from adapters.sandbox import confinement
from adapters.sandbox.frames import HEADER

WORDS = "Water turns the wheel and the wheel turns the stone. "


def text_pdf(path: Path, pages: Sequence[str] = ("The first page.", "The second page."), **save: object) -> Path:
    """Write a PDF with one line of text a page; an empty string makes a blank page."""
    document = pymupdf.open()
    for text in pages:
        page = document.new_page()
        if text:
            page.insert_text((72, 72), text)
    document.save(path, **save)
    return path


def turned_pdf(path: Path, page_count: int) -> Path:
    """Write a PDF whose pages are shown turned, its objects in streams; each page names a picture that is nowhere.

    Both are sound: a reference to nothing is null (ISO 32000-1, 7.3.10).
    """
    document = pymupdf.open()
    for number in range(1, page_count + 1):
        page = document.new_page()
        page.insert_text((72, 72), f"Page {number}.")
        page.set_rotation(90)
        resources = int(document.xref_get_key(page.xref, "Resources")[1].split()[0])
        document.xref_set_key(resources, "XObject", "<</Im0 99999 0 R>>")
    document.save(path, use_objstms=1, deflate=True)
    return path


def long_pdf(path: Path, page_count: int = 6) -> Path:
    """Write a PDF whose page contents, one font and page tree lie in the file in this order."""
    bodies = [_stream(_text_operators(f"Page {number}. {WORDS}")) for number in range(1, page_count + 1)]
    kids = " ".join(f"{page_count + 3 + index} 0 R" for index in range(page_count))
    bodies.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    bodies.append(f"<</Type/Pages/Count {page_count}/Kids[{kids}]>>".encode())
    font, tree = page_count + 1, page_count + 2
    bodies += [
        f"<</Type/Page/Parent {tree} 0 R/MediaBox[0 0 600 800]/Contents {number} 0 R"
        f"/Resources<</Font<</F1 {font} 0 R>>>>>>".encode()
        for number in range(1, page_count + 1)
    ]
    return _write(path, [*bodies, f"<</Type/Catalog/Pages {tree} 0 R>>".encode()])


def pages_first_pdf(path: Path, page_count: int = 6) -> Path:
    """Write a PDF with catalog, page tree and pages in front and the contents behind, so that a cut takes contents."""
    first_content = 4 + page_count
    kids = " ".join(f"{4 + index} 0 R" for index in range(page_count))
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {page_count}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    bodies += [
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {first_content + index} 0 R"
        f"/Resources<</Font<</F1 3 0 R>>>>>>".encode()
        for index in range(page_count)
    ]
    bodies += [_stream(_text_operators(f"Page {number}. {WORDS}")) for number in range(1, page_count + 1)]
    return _write(path, bodies, root=1)


def joined_pdf(path: Path, page_count: int) -> Path:
    """Write a PDF as joining one-page files makes it: each page has a font of its own."""
    with pymupdf.open() as part, pymupdf.open() as joined:
        page = part.new_page()
        page.insert_font("own", fontbuffer=pymupdf.Font("helv").buffer)
        page.insert_text((72, 72), WORDS, fontname="own")
        for _ in range(page_count):
            joined.insert_pdf(part)
        joined.save(path, deflate=True)
    return path


def pageless_pdf(path: Path) -> Path:
    """Write a sound PDF whose page tree is empty."""
    return _write(path, [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 0/Kids[]>>"], root=1)


def odd_characters_pdf(path: Path) -> Path:
    """Write a PDF of two blocks and two fonts: A is half of a surrogate pair in one, NUL is NUL in the other."""
    cmap = b"1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <41> <D835> endbfchar"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R/G 7 0 R>>>>>>"
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        page,
        _stream(b"BT /F 12 Tf 50 700 Td (xAy) Tj /G 12 Tf <00000048> Tj 0 -300 Td /F 12 Tf (end) Tj ET"),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        _stream(cmap),
        b"<</Type/Font/Subtype/Type0/BaseFont/Wheel/Encoding/Identity-H/DescendantFonts[8 0 R]>>",
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/Wheel/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/FontDescriptor<</Type/FontDescriptor/FontName/Wheel/Flags 4>>>>",
    ]
    return _write(path, bodies, root=1)


def cyclic_pdf(path: Path) -> Path:
    """Write a PDF whose page tree contains itself and whose form draws itself."""
    return _write(
        path,
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 2/Kids[3 0 R 2 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>",
            _stream(b"/X Do"),
            _stream(b"/X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>"),
        ],
        root=1,
    )


def bomb_pdf(path: Path) -> Path:
    """Write a PDF of about 100 KB whose second page is one string of 100 million characters."""
    document = pymupdf.open(text_pdf(path))
    (contents,) = document[1].get_contents()
    document.update_stream(contents, b"BT /helv 11 Tf (" + b"a" * 100_000_000 + b") Tj ET", compress=True)
    document.saveIncr()
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only this share of the file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _text_operators(text: str) -> bytes:
    lines = "".join(f"({text}) Tj 0 -14 Td " for _ in range(20))
    return f"BT /F1 10 Tf 72 720 Td {lines}ET".encode()


def _stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(content), content)


def _write(path: Path, bodies: Sequence[bytes], *, root: int | None = None) -> Path:
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start, size = len(out), len(bodies) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, root or len(bodies), start)
    path.write_bytes(out)
    return path


def _after_two_pages(results: int, order: Order, end: Callable[[], object]) -> None:
    def parser(_: Order) -> Iterator[Message]:
        yield Opened(9)
        yield PageRead(1, "one", False, False)
        yield PageRead(2, "two", False, False)
        end()
        yield Finished()

    child.confine(order)
    child.serve(results, order, parser)


def crash(results: int, order: Order) -> None:
    _after_two_pages(results, order, lambda: os.kill(os.getpid(), signal.SIGSEGV))


def be_killed(results: int, order: Order) -> None:
    _after_two_pages(results, order, lambda: os.kill(os.getpid(), signal.SIGKILL))


def be_hung_up(results: int, order: Order) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    _after_two_pages(results, order, lambda: os.kill(os.getpid(), signal.SIGHUP))


def sleep(results: int, order: Order) -> None:
    _after_two_pages(results, order, lambda: time.sleep(60))


def hold_the_interpreter(results: int, order: Order) -> None:
    """Sleep in C without letting go of the interpreter lock."""
    _after_two_pages(results, order, lambda: ctypes.PyDLL(None).sleep(60))


def compute(results: int, order: Order) -> None:
    def burn() -> None:
        while True:
            pass

    _after_two_pages(results, order, burn)


def devour(results: int, order: Order) -> None:
    _after_two_pages(results, order, lambda: bytearray(order.limits.memory_bytes))


def open_a_socket(results: int, order: Order) -> None:
    def connect() -> None:
        confinement.close_the_door()
        socket.socket()

    _after_two_pages(results, order, connect)


def report_a_signal(results: int, order: Order) -> None:
    """Shrug off what a service manager sends to the whole group."""
    _after_two_pages(results, order, lambda: [os.kill(os.getpid(), one) for one in (signal.SIGTERM, signal.SIGINT)])


def print_loudly(results: int, order: Order) -> None:
    _after_two_pages(results, order, lambda: (sys.stdout.write("noise\n"), sys.stdout.flush(), os.write(1, b"noise\n")))


def talk_nonsense(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"O", 4) + b"many" + HEADER.pack(b"P", 4) + b"many")
    time.sleep(60)


def skip_a_page(results: int, order: Order) -> None:
    child.serve(results, order, lambda _: iter([Opened(3), PageRead(2, "two", False, False)]))


def announce_too_much(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"P", order.limits.message_bytes + 1))
    time.sleep(60)


def stop_mid_message(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"P", 100) + b"half")
    time.sleep(60)


def leave(results: int, order: Order) -> None:
    os._exit(3)


def tell_pid(results: int, order: Order) -> None:
    """Say who reads."""
    _tell(results, order, str(os.getpid()))


def tell_what_is_warm(results: int, order: Order) -> None:
    """Say what the fork server did before it forked."""
    document = sys.modules.get("adapters.pdf.document")
    prepared = document is not None and document.prepare_mupdf.cache_info().currsize
    frozen = gc.get_freeze_count() > 10_000
    _tell(results, order, f"MuPDF {'is' if prepared else 'not'} prepared, heap {'is' if frozen else 'not'} frozen")


def tell_memory_used(results: int, order: Order) -> None:
    """Read the file for real, and tell how many bytes more that took at its peak than there were before.

    Not counted: the file itself, whose pages the child shares with everybody.
    """
    from adapters.pdf.document import read_document

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert all(isinstance(message, (Opened, PageRead, Finished)) for message in read_document(order))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    _tell(results, order, str(grown - Path(order.file).stat().st_size))


def _tell(results: int, order: Order, text: str) -> None:
    child.serve(results, order, lambda _: iter([Opened(1), PageRead(1, text, False, False), Finished()]))
