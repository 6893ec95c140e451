"""The chunks of a document's target generation, and the vectors of their texts."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from adapters.postgres.halfvec_array import HalfvecArray
from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.documents import Chunk, Document
from domain.ports import ChunkText, Vectors

_CHUNKS = load_queries("chunks")
_PAGES = load_queries("pages")

_COPY_TYPES = ["uuid", "int4", "int4", "uuid", "text", "bytea", "int4", "int4", "int4", "int4", "int4"]


class PostgresChunks:
    """See domain.ports.Chunks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def clear(self, document: Document) -> None:
        """See the port."""
        self._connection.execute(_CHUNKS["delete_generation"], _key(document))

    def add(self, document: Document, chunks: Iterable[Chunk]) -> None:
        """See the port."""
        with self._connection.cursor() as cursor, cursor.copy(_CHUNKS["copy"]) as copy:
            copy.set_types(_COPY_TYPES)
            for chunk in chunks:
                copy.write_row(_row(document, chunk))

    def missing(self, document: Document, model: str) -> list[ChunkText]:
        """See the port. No deletion takes a vector away between this answer and the commit of the chunks."""
        self.keep_vectors(document)
        rows = self._connection.execute(_CHUNKS["missing"], _key(document, model))
        return [ChunkText(*row) for row in rows]

    def keep_vectors(self, document: Document) -> None:
        """See the port."""
        self._connection.execute(_CHUNKS["keep_vectors"], _key(document))

    def lock_vectors(self, document: Document) -> None:
        """See the port."""
        self._connection.execute(_CHUNKS["lock_vectors"], _key(document))

    def embed(self, document: Document, model: str, texts: Sequence[ChunkText], vectors: Vectors) -> None:
        """See the port."""
        hashes = [text.text_hash for text in texts]
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        arrays = {"text_hashes": [hashes[at] for at in order], "embeddings": HalfvecArray(vectors[order])}
        self._connection.execute(_CHUNKS["embed"], _key(document, model) | arrays, binary=True)

    def count_embedded(self, document: Document, model: str) -> tuple[int, int]:
        """See the port."""
        row = self._connection.execute(_CHUNKS["count_embedded"], _key(document, model)).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def delete_others(self, document: Document) -> None:
        """See the port."""
        delete_other_generations(self._connection, document.id, document.workspace_id, document.target_generation)


def delete_other_generations(connection: Connection, document_id: UUID, workspace_id: UUID, generation: int) -> None:
    """Remove pages and chunks of every generation but one, and vectors that the workspace needs no more."""
    key = {"document_id": document_id, "workspace_id": workspace_id, "generation": generation}
    connection.execute(_PAGES["delete_others"], key)
    gone = {row[0] for row in connection.execute(_CHUNKS["delete_others"], key)}
    if gone:
        connection.execute(_CHUNKS["lock_vectors"], key)
        connection.execute(_CHUNKS["delete_unneeded"], key | {"text_hashes": list(gone)})


def _key(document: Document, model: str | None = None) -> dict[str, object]:
    return {
        "document_id": document.id,
        "generation": document.target_generation,
        "workspace_id": document.workspace_id,
        "model": model,
    }


def _row(document: Document, chunk: Chunk) -> tuple[object, ...]:
    return (
        document.id,
        document.target_generation,
        chunk.ordinal,
        document.workspace_id,
        chunk.text,
        chunk.text_hash,
        chunk.page_from,
        chunk.page_to,
        chunk.char_start,
        chunk.char_end,
        chunk.token_count,
    )
