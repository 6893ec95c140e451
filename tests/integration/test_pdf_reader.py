"""The page reader on real files in real children."""

import gc
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pymupdf
import pytest

from adapters.pdf.protocol import Order
from adapters.pdf.reader import SandboxedPageReader
from domain.documents import Page, PageBatch
from domain.errors import FailureCode, PermanentError, TransientError
from domain.ports import PageReader
from tests import pdf_files

ROOT = Path(__file__).parents[2]
LIMITS = {
    "parser_memory_bytes": 1 << 30,
    "parser_cpu_seconds": 30,
    "parser_wall_seconds": 30,
    "parser_page_seconds": 10,
    "parser_processes": 2,
    "document_max_pages": 1000,
    "document_max_characters": 1_000_000,
    "page_max_characters": 100_000,
}


def reader(**changes: object) -> SandboxedPageReader:
    return SandboxedPageReader(**(LIMITS | changes))  # type: ignore[arg-type]


def read(file: Path, *, first_page: int = 1, **changes: object) -> list[Page]:
    batches = reader(**changes).read_pages(file, first_page=first_page)
    return [page for batch in batches for page in batch.pages]


def refusal(file: Path, **changes: object) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        read(file, **changes)
    assert_is_a_sentence(caught.value.message)
    return caught.value


def assert_is_a_sentence(message: str) -> None:
    assert message[0].isupper()
    assert message.endswith(".")
    assert len(message.split()) > 3


def test_pages_come_in_order_with_their_text(tmp_path: Path) -> None:
    pages = read(pdf_files.text_pdf(tmp_path / "two.pdf"))

    assert pages == [Page(1, "The first page.\n"), Page(2, "The second page.\n")]


def test_the_reader_is_a_page_reader_and_names_its_version() -> None:
    port: PageReader = reader()

    assert port.version.startswith("pymupdf-2")


def test_reading_resumes_at_the_first_missing_page(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "many.pdf", [f"Page {n}." for n in range(1, 8)])

    assert [page.number for page in read(file, first_page=6)] == [6, 7]
    assert read(file, first_page=8) == []


def test_batches_are_small_and_consecutive(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "many.pdf", [f"Page {n}." for n in range(1, 151)])
    batches = list(reader().read_pages(file))

    assert all(batch.page_count == 150 and 1 <= len(batch.pages) <= 64 for batch in batches)
    assert [page.number for batch in batches for page in batch.pages] == list(range(1, 151))


def test_a_blank_page_is_not_lost(tmp_path: Path) -> None:
    pages = read(pdf_files.text_pdf(tmp_path / "blank.pdf", ["Text.", "", "More."]))

    assert [(page.text, page.lost) for page in pages] == [("Text.\n", False), ("", False), ("More.\n", False)]


def test_a_document_of_blank_pages_is_not_damaged(tmp_path: Path) -> None:
    assert read(pdf_files.text_pdf(tmp_path / "blank.pdf", [""])) == [Page(1, "")]


@pytest.mark.parametrize("text", ["back\\slash \\u0041 \\n", 'quotes " and { braces }', "Grüße"])
def test_text_survives_the_way_through_the_pipe(tmp_path: Path, text: str) -> None:
    assert read(pdf_files.text_pdf(tmp_path / "odd.pdf", [text]))[0].text == text + "\n"


def test_odd_characters_cost_no_page_and_blocks_no_line(tmp_path: Path) -> None:
    (page,) = read(pdf_files.odd_characters_pdf(tmp_path / "odd.pdf"))

    assert (page.text, page.lost) == ("x\ufffdye\nend\n", False)


def test_words_are_joined_over_line_ends_and_ligatures_spelled_out(tmp_path: Path) -> None:
    document = pymupdf.open()
    writer = pymupdf.TextWriter(document.new_page().rect)
    writer.append((72, 72), "an e\ufb03cient inter-")
    writer.append((72, 86), "national office")
    writer.write_text(document.new_page())
    document.save(tmp_path / "words.pdf")

    assert "an efficient international" in read(tmp_path / "words.pdf")[1].text


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(
        tmp_path / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="open", owner_pw="own"
    )
    error = refusal(file)

    assert error.code == FailureCode.PDF_ENCRYPTED
    assert error.message == "The file is protected by a password; remove the protection and upload it again."


def test_an_owner_password_alone_does_not_stop_reading(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "owned.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="own")

    assert read(file)[0].text == "The first page.\n"


def png(path: Path) -> None:
    pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 9, 9)).save(path, "png")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<!DOCTYPE html><html><body>%PDF- is far away" + " " * 2000),
        lambda path: path.write_text("<html><body>not really %PDF-1.4</body></html>"),
        lambda path: path.write_bytes(b" " * 2000 + b"%PDF-1.7"),
        png,
    ],
    ids=["empty", "html", "html that names PDF", "late header", "png"],
)
def test_what_is_not_a_pdf_is_refused(tmp_path: Path, write: Callable[[Path], object]) -> None:
    file = tmp_path / "renamed.pdf"
    write(file)

    assert refusal(file).code in (FailureCode.NOT_A_PDF, FailureCode.PDF_DAMAGED)


def test_bytes_before_the_header_are_tolerated(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "late.pdf")
    file.write_bytes(b"\n\n" + file.read_bytes())

    assert read(file)[0].text == "The first page.\n"


def test_a_pdf_without_pages_is_refused(tmp_path: Path) -> None:
    assert refusal(pdf_files.pageless_pdf(tmp_path / "none.pdf")).code == FailureCode.PDF_NO_PAGES


def test_cycles_end(tmp_path: Path) -> None:
    pages = read(pdf_files.cyclic_pdf(tmp_path / "cycle.pdf"))

    assert len(pages) <= 2


def test_a_vanished_file_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot read"):
        read(tmp_path / "gone.pdf")


def test_limits_are_named(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "three.pdf", ["x" * 50, "y" * 50, "z" * 50])
    pages = refusal(file, document_max_pages=2)
    page = refusal(file, page_max_characters=20)
    document = refusal(file, document_max_characters=120)

    assert {pages.code, page.code, document.code} == {FailureCode.TOO_LARGE}
    assert "has 3 pages and 2 are allowed" in pages.message
    assert "Page 1 holds 51 characters and 20 are allowed" in page.message
    assert "Up to page 3" in document.message


def test_a_bomb_runs_out_of_memory_and_not_out_of_text(tmp_path: Path) -> None:
    error = refusal(pdf_files.bomb_pdf(tmp_path / "bomb.pdf"), parser_memory_bytes=512 << 20)

    assert error.code == FailureCode.PARSE_MEMORY
    assert "on page 2" in error.message


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_file_cut_before_its_page_tree_is_damaged(tmp_path: Path, share: float) -> None:
    file = pdf_files.cut(pdf_files.long_pdf(tmp_path / "cut.pdf"), share)

    assert refusal(file).code == FailureCode.PDF_DAMAGED


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_file_cut_behind_its_page_tree_tells_which_pages_are_lost(tmp_path: Path, share: float) -> None:
    whole = read(pdf_files.pages_first_pdf(tmp_path / "cut.pdf"))
    pages = read(pdf_files.cut(tmp_path / "cut.pdf", share))

    assert not any(page.lost for page in whole)
    assert [page.lost for page in pages] == [
        page.text != intact.text for page, intact in zip(pages, whole, strict=True)
    ]
    assert 0 < sum(page.lost for page in pages) < len(pages)


def test_a_file_without_any_page_left_is_damaged(tmp_path: Path) -> None:
    file = pdf_files.pages_first_pdf(tmp_path / "cut.pdf")
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"stream")])
    error = refusal(file)

    assert error.code == FailureCode.PDF_DAMAGED
    assert "not one of its 6 pages" in error.message


@pytest.mark.parametrize("cosmetic", [lambda content: content[:-20], lambda content: content.replace(b"xref", b"xxxx")])
def test_a_repair_that_costs_no_text_costs_no_page(tmp_path: Path, cosmetic: Callable[[bytes], bytes]) -> None:
    file = pdf_files.long_pdf(tmp_path / "odd.pdf")
    intact = read(file)
    file.write_bytes(cosmetic(file.read_bytes()))
    batches = list(reader().read_pages(file))

    assert all(batch.repaired for batch in batches)
    assert [page for batch in batches for page in batch.pages] == intact


def test_turned_pages_are_no_damage_however_many_there_are(tmp_path: Path) -> None:
    batches = list(reader().read_pages(pdf_files.turned_pdf(tmp_path / "turned.pdf", 140)))

    assert not any(batch.repaired for batch in batches)
    pages = [page for batch in batches for page in batch.pages]
    assert pages == [Page(number, f"Page {number}.\n") for number in range(1, 141)]


def test_a_flipped_bit_in_a_compressed_page_is_noticed(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "flip.pdf", [pdf_files.WORDS, pdf_files.WORDS], deflate=True)
    content = bytearray(file.read_bytes())
    at = content.index(b"stream", content.index(b"FlateDecode")) + 30
    content[at] ^= 4
    file.write_bytes(content)

    assert [page.lost for page in read(file)].count(True) == 1


def test_a_closed_generator_leaves_no_child_and_no_descriptor(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "many.pdf", [f"Page {n}." for n in range(1, 151)])
    one_at_a_time = reader(parser_processes=1)
    list(one_at_a_time.read_pages(file))
    before = open_descriptors()
    for _ in range(3):
        pages = one_at_a_time.read_pages(file)
        next(pages)
        pages.close()
    gc.collect()

    assert open_descriptors() <= before  # fewer: an earlier test may have left garbage that was collected meanwhile
    assert len(list(one_at_a_time.read_pages(file))) >= 3


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    files = [pdf_files.text_pdf(tmp_path / f"{n}.pdf", [f"File {n}."]) for n in range(12)]
    shared, texts = reader(), {}

    def work(part: int) -> None:
        for number in range(part, 12, 4):
            texts[number] = [page.text for batch in shared.read_pages(files[number]) for page in batch.pages]

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert texts == {number: [f"File {number}.\n"] for number in range(12)}


def test_a_script_without_a_guard_reads_and_runs_once(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "two.pdf")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from adapters.pdf.reader import SandboxedPageReader
        print("running")
        for batch in SandboxedPageReader(**{LIMITS!r}).read_pages(Path({str(file)!r})):
            print(len(batch.pages))
        print("pymupdf" in sys.modules)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=True)

    assert done.stdout.split() == ["running", "2", "False"]
    assert done.stderr == ""


def say_nothing(results: int, order: Order) -> None:
    time.sleep(60)


def test_whoever_waits_for_a_slow_page_gets_places_to_stop(tmp_path: Path) -> None:
    batches = reader(target=say_nothing).read_pages(pdf_files.text_pdf(tmp_path / "slow.pdf"))

    began = time.monotonic()
    assert [next(batches), next(batches)] == [PageBatch(0, ())] * 2
    batches.close()

    assert 0.9 < time.monotonic() - began < 10, "and stopping ends the parser, not the page"


def test_whoever_waits_for_a_parser_gets_places_to_stop(tmp_path: Path) -> None:
    file = pdf_files.text_pdf(tmp_path / "two.pdf")
    busy = reader(parser_processes=1, target=say_nothing)
    first, second = busy.read_pages(file), busy.read_pages(file)
    next(first)

    assert next(second) == PageBatch(0, ())

    first.close()
    second.close()


def test_a_long_document_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Without forgetting, four times the pages take more than three times the memory."""
    few, many = (memory_used(pdf_files.joined_pdf(tmp_path / f"{pages}.pdf", pages)) for pages in (150, 600))

    assert many < few * 1.5, (few, many)


def memory_used(file: Path) -> int:
    (page,) = read(file, target=pdf_files.tell_memory_used)
    return int(page.text)
