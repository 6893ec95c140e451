"""The files of a run: good PDFs multiplied until there are enough pages; each copy has its own bytes and workspace.

A copy differs from its original by a comment behind its end, which every parser skips. Each round of copies goes to
another workspace: within one, Headrace would embed a repeated passage once, and be compared with work it did not do.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pymupdf

#: Only without a folder of real ones: pages of this many words, more or less.
GENERATED_FILES, GENERATED_PAGES, WORDS_PER_PAGE = 20, 13, 380
SMALL_FILE_PAGES = 2


@dataclass(frozen=True)
class File:
    """One file to upload."""

    path: Path
    pages: int
    workspace: int


def good_files(corpus: Path | None, folder: Path) -> list[Path]:
    """Return the corpus's good PDFs; without a corpus, generated ones."""
    if corpus is None:
        return generate(folder)
    good = corpus / "good" if (corpus / "good").is_dir() else corpus
    found = sorted(path for path in good.rglob("*.pdf") if count_pages(path))
    if not found:
        raise SystemExit(f"There is no readable PDF below {good}.")
    return found


def multiply(originals: Sequence[Path], pages: int, folder: Path) -> list[File]:
    """Return files with at least so many pages in all: whole rounds over the originals, the last one cut."""
    sizes = {path: count_pages(path) for path in originals}
    files: list[File] = []
    for copy in count():
        for path in originals:
            target = folder / f"{copy:03}-{path.name}"
            target.write_bytes(path.read_bytes() + f"\n% copy {copy} of {path.name}\n".encode())
            files.append(File(target, sizes[path], copy))
            if sum(file.pages for file in files) >= pages:
                return files
    raise AssertionError


def join(originals: Sequence[Path], pages: int, target: Path) -> File:
    """Make one PDF of so many pages."""
    with pymupdf.open() as joined:
        while joined.page_count < pages:
            for path in originals:
                with pymupdf.open(path) as part:
                    joined.insert_pdf(part, to_page=min(part.page_count, pages - joined.page_count) - 1)
                if joined.page_count >= pages:
                    break
        joined.save(target, garbage=3, deflate=True)
        return File(target, joined.page_count, 0)


def small_files(number: int, folder: Path, *, pages: int = SMALL_FILE_PAGES) -> Iterator[File]:
    """Make small PDFs, each with text of its own."""
    from tests.builders import a_pdf

    folder.mkdir(exist_ok=True)
    for index in range(number):
        words = random.Random(index)
        texts = ["\n".join(" ".join(words.choices(WORDS, k=10)) for _ in range(30)) for _ in range(pages)]
        path = folder / f"small-{index:05}.pdf"
        path.write_bytes(a_pdf(*texts))
        yield File(path, pages, 0)


def ten_pages(originals: Sequence[Path], folder: Path) -> Path:
    """Make the ten-page PDF of the idle system."""
    return join(originals, 10, folder / "ten-pages.pdf").path


def copy_of(path: Path, number: int, folder: Path) -> Path:
    """Make a copy with other bytes."""
    target = folder / f"{number:05}-{path.name}"
    target.write_bytes(path.read_bytes() + f"\n% copy {number}\n".encode())
    return target


def count_pages(path: Path) -> int:
    """Count the pages; none when it cannot be opened."""
    try:
        with pymupdf.open(path, filetype="pdf") as document:
            return 0 if document.needs_pass else int(document.page_count)
    except Exception:
        return 0


def generate(folder: Path) -> list[Path]:
    """Make PDFs of random words, the same in every run."""
    paths = []
    for index in range(GENERATED_FILES):
        words = random.Random(index)
        with pymupdf.open() as document:
            for _ in range(GENERATED_PAGES):
                text = " ".join(words.choices(WORDS, k=WORDS_PER_PAGE))
                document.new_page().insert_textbox((60, 60, 540, 780), text, fontsize=10)
            path = folder / f"generated-{index:02}.pdf"
            document.save(path, deflate=True)
            paths.append(path)
    return paths


WORDS = [
    "the",
    "water",
    "wheel",
    "turns",
    "when",
    "a",
    "river",
    "brings",
    "more",
    "than",
    "mill",
    "and",
    "miller",
    "can",
    "hold",
    "yet",
    "every",
    "stone",
    "in",
    "its",
    "bed",
    "keeps",
    "count",
    "of",
    "years",
    "gone",
    "by",
    "under",
    "bridges",
    "where",
    "children",
    "once",
    "threw",
    "bread",
    "to",
    "swans",
    "while",
    "boats",
    "carried",
    "grain",
    "coal",
    "salt",
    "timber",
    "letters",
    "news",
    "weather",
    "prices",
    "quarrels",
    "weddings",
    "debts",
    "promises",
    "from",
    "upland",
    "farms",
    "toward",
    "harbour",
    "towns",
    "whose",
    "clerks",
    "wrote",
    "down",
    "each",
    "barrel",
    "twice",
    "because",
    "ink",
    "was",
    "cheap",
    "and",
    "trust",
    "was",
    "not",
]
