"""What is told of documents."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from adapters.api.models.base import (
    A_DOCUMENT,
    A_TASK,
    A_TIME,
    Answer,
    Count,
    Failure,
    Percent,
    ProblemDetails,
    example,
)
from domain.documents import DocumentState


class StageProgress(Answer):
    """How far one stage is; `total` is null until it is known."""

    done: Count
    total: Count | None


class Progress(Answer):
    """How far a document is: pages read, then chunks embedded, and both on one scale that never goes back."""

    percent: Percent
    extraction: StageProgress
    indexing: StageProgress


A_DOCUMENT_IN_FULL = {
    "id": A_DOCUMENT,
    "name": "report.pdf",
    "state": "indexing",
    "progress": {
        "percent": 62,
        "extraction": {"done": 120, "total": 120},
        "indexing": {"done": 95, "total": 390},
    },
    "failure": None,
    "warning": None,
    "byte_count": 1048576,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "page_count": 120,
    "chunk_count": 390,
    "tokens_embedded": 24310,
    "generation": 0,
    "target_generation": 1,
    "task_id": A_TASK,
    "created_at": A_TIME,
    "updated_at": A_TIME,
    "ready_at": None,
}


class Document(Answer):
    """A document. `generation`: the version that readers see; 0: nothing yet."""

    model_config = example(**A_DOCUMENT_IN_FULL)

    id: UUID
    name: str
    state: DocumentState
    progress: Progress
    failure: Failure | None
    warning: str | None
    byte_count: Count
    sha256: str
    page_count: Count | None
    chunk_count: Count | None
    tokens_embedded: Count
    generation: Count
    target_generation: Count
    task_id: UUID | None = Field(description="The latest task of this document; null when it is too long ago.")
    created_at: datetime
    updated_at: datetime
    ready_at: datetime | None


class DocumentList(Answer):
    """Some documents, the newest first. `next`: pass it as `cursor` for the next ones; null: these were the last."""

    model_config = example(items=[A_DOCUMENT_IN_FULL], next=None)

    items: list[Document]
    next: str | None


class Receipt(Answer):
    """What became of an upload. `is_new`: the workspace did not have these bytes; `task_id`: what works on it now."""

    model_config = example(document_id=A_DOCUMENT, task_id=A_TASK, is_new=True)

    document_id: UUID
    task_id: UUID | None
    is_new: bool


class BatchItem(Answer):
    """What became of one file of a batch: a receipt, or the error that the file alone would have been answered with."""

    name: str
    receipt: Receipt | None
    problem: ProblemDetails | None


class BatchReceipt(Answer):
    """What became of each file of a batch, in the order of the request."""

    model_config = example(
        items=[
            {
                "name": "report.pdf",
                "receipt": {"document_id": A_DOCUMENT, "task_id": A_TASK, "is_new": True},
                "problem": None,
            }
        ]
    )

    items: list[BatchItem]


class Started(Answer):
    """A task that was put in."""

    model_config = example(task_id=A_TASK)

    task_id: UUID


class Page(Answer):
    """One page's text as readers see it. `lost`: the page's content could not be read."""

    model_config = example(document_id=A_DOCUMENT, generation=1, number=3, text="The river turns the mill.", lost=False)

    document_id: UUID
    generation: int
    number: int
    text: str
    lost: bool


class Chunk(Answer):
    """A passage: from character `char_start` of page `page_from` to before character `char_end` of page `page_to`."""

    ordinal: Count
    page_from: int
    page_to: int
    char_start: Count
    char_end: Count
    token_count: Count
    text: str


class ChunkList(Answer):
    """Some chunks of the published generation, in reading order."""

    model_config = example(
        generation=1,
        items=[
            {
                "ordinal": 0,
                "page_from": 1,
                "page_to": 2,
                "char_start": 0,
                "char_end": 412,
                "token_count": 231,
                "text": "The river turns the mill.",
            }
        ],
        next=None,
    )

    generation: int
    items: list[Chunk]
    next: str | None
