"""The document: one uploaded file of a workspace, one row, one state."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class DocumentState(StrEnum):
    """Where a document is on its way. `ready`, `failed` and `deleted` wait for a person; the rest moves by itself."""

    UPLOADED = "uploaded"
    EXTRACTING = "extracting"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


S = DocumentState

#: verb: (the states it may leave, the state it reaches). The diagram in docs/architecture.md is generated from this.
TRANSITIONS: dict[str, tuple[frozenset[DocumentState], DocumentState]] = {
    "start_extraction": (frozenset({S.UPLOADED, S.EXTRACTING, S.INDEXING}), S.EXTRACTING),
    "finish_extraction": (frozenset({S.EXTRACTING}), S.INDEXING),
    "publish": (frozenset({S.INDEXING}), S.READY),
    "fail": (frozenset({S.UPLOADED, S.EXTRACTING, S.INDEXING}), S.FAILED),
    "reindex": (frozenset({S.READY, S.FAILED}), S.UPLOADED),
    "replace": (frozenset(S) - {S.DELETED}, S.UPLOADED),
    "delete": (frozenset(S) - {S.DELETED}, S.DELETED),
}

#: States in which some job must be on its way to move the document on.
IN_FLIGHT = frozenset({S.UPLOADED, S.EXTRACTING, S.INDEXING})


@dataclass(frozen=True, slots=True)
class Document:
    """A document as its jobs see it.

    `generation` is what readers see (0: nothing yet); `target_generation` is being built, and has `pages_done` of its
    `page_count` pages so far. `job_id` is the only job that may move the document on.
    """

    id: UUID
    workspace_id: UUID
    name: str
    state: DocumentState
    blob_key: str
    content_sha256: bytes
    byte_count: int
    generation: int
    target_generation: int
    job_id: UUID | None
    pages_done: int = 0
    page_count: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page's clean text. `number` starts at 1; `lost` says that the page's content could not be read."""

    number: int
    text: str
    lost: bool = False

    @property
    def characters(self) -> int:
        """Count the characters that are not white space."""
        return len("".join(self.text.split()))


@dataclass(frozen=True, slots=True)
class PageBatch:
    """Some consecutive pages out of the `page_count` pages of the file. `repaired`: the file's structure was mended.

    An empty batch is a sign of life: a page takes long, or no parser is free yet.
    """

    page_count: int
    pages: tuple[Page, ...]
    repaired: bool = False

    @property
    def is_last(self) -> bool:
        """Whether it ends with the file's last page."""
        return bool(self.pages) and self.pages[-1].number == self.page_count

    @property
    def is_whole(self) -> bool:
        """Whether it has every page of the file."""
        return self.is_last and self.pages[0].number == 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document.

    With the pages joined by `domain.chunking.PAGE_BREAK`, the passage starts at character `char_start` of page
    `page_from` and ends before character `char_end` of page `page_to`. `text_hash` is the SHA-256 of its UTF-8 text.
    """

    ordinal: int
    text: str
    text_hash: bytes
    page_from: int
    page_to: int
    char_start: int
    char_end: int
    token_count: int
