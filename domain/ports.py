"""Every boundary of the domain, as protocols. Adapters do not inherit; mypy proves the fit in adapters/bootstrap.py."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from domain.documents import PageBatch

Vectors = npt.NDArray[np.float32]


class PageReader(Protocol):
    """Reads the text of a file without trusting it."""

    @property
    def version(self) -> str:
        """Name parser and version; a new value releases quarantined files."""
        ...

    def read_pages(self, file: Path, *, first_page: int = 1) -> Iterator[PageBatch]:
        """Yield consecutive pages from `first_page` on, as they are parsed; closing the iterator stops the parser.

        Page texts are clean: valid UTF-8, no NUL, no lone surrogate. A file with pages yields at least one batch
        unless `first_page` is past its end.

        Raises PermanentError: not_a_pdf, pdf_encrypted, pdf_damaged, pdf_no_pages, too_large, parse_timeout,
        parse_memory, parser_crashed.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """What one request to the embedder may carry."""

    inputs_per_request: int
    tokens_per_request: int
    tokens_per_input: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One unit-length vector a text, in the order of the texts: shape (texts, dimensions). `tokens`: what it cost."""

    vectors: Vectors
    tokens: int


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> str:
        """Name provider and model; stored with every vector."""
        ...

    @property
    def dimensions(self) -> int:
        """Return the length of every vector."""
        ...

    @property
    def limits(self) -> EmbeddingLimits:
        """Return what one call of `embed` may carry."""
        ...

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts that stay within the limits; the result is checked for count, order, dimension and finiteness.

        Raises PermanentError (embedding_rejected), TransientError (embedding_unavailable) and ParkedError (the
        provider asks to wait).
        """
        ...


class BlobStore(Protocol):
    """Keeps uploaded bytes under opaque keys."""

    def put(self, key: str, content: Iterable[bytes]) -> None:
        """Store the stream; when `content` raises, nothing stays behind and the error passes through."""
        ...

    def local_file(self, key: str) -> AbstractContextManager[Path]:
        """Lend the blob as a local read-only file for the time of the context.

        Raises PermanentError (blob_missing) and TransientError (blob_unavailable).
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the blob; a missing one is fine."""
        ...
