"""Small PDFs, each with text of its own, some of several pages; some carry a mark that a sabotaged parser obeys."""

from dataclasses import dataclass

from tests.builders import a_pdf
from tests.chaos.marks import Mark

LINES = 18
LONG_EVERY, LONG_PAGES = 10, 9


@dataclass(frozen=True)
class Upload:
    """A file to upload, and how it must end: `code` is None for ready."""

    name: str
    content: bytes
    pages: int
    code: str | None = None


def make_documents(count: int, *, marked: dict[int, Mark] | None = None) -> list[Upload]:
    """Return distinct files; `marked` says which of them are poison."""
    return [_document(number, (marked or {}).get(number)) for number in range(count)]


def marked_every(step: int, count: int, mark: Mark) -> dict[int, Mark]:
    return dict.fromkeys(range(step // 2, count, step), mark)


def _document(number: int, mark: Mark | None) -> Upload:
    pages = LONG_PAGES if number % LONG_EVERY == 0 else 1 + number % 3
    content = a_pdf(*(_page(number, page) for page in range(1, pages + 1)))
    if mark:
        content += f"%chaos:{mark.name}\n".encode()
    return Upload(f"{number:04}.pdf", content, pages, mark.value if mark else None)


def _page(number: int, page: int) -> str:
    return "\n".join(
        f"Document {number}, page {page}, line {line}: river {number * 7919 + page * 31 + line} turns the mill's wheel."
        for line in range(1, LINES + 1)
    )
