"""The pages of a document's target generation."""

from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.documents import Document, Page, PageBatch
from domain.ports import PagesRead

_PAGES = load_queries("pages")
_DOCUMENTS = load_queries("documents")


class PostgresPages:
    """See domain.ports.Pages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, document: Document, batch: PageBatch) -> None:
        """See the port."""
        with self._connection.cursor() as cursor, cursor.copy(_PAGES["copy"]) as copy:
            copy.set_types(["uuid", "int4", "int4", "text", "bool", "int4"])
            for page in batch.pages:
                key = (document.id, document.target_generation, page.number)
                copy.write_row((*key, page.text, page.lost, page.characters))
        if not batch.is_last:
            done = batch.pages[-1].number if batch.pages else 0
            params = {"id": document.id, "page_count": batch.page_count, "pages_done": done}
            self._connection.execute(_DOCUMENTS["record_pages"], params)

    def summarise(self, document: Document) -> PagesRead:
        """See the port."""
        row = self._connection.execute(_PAGES["summarise"], _key(document)).fetchone()
        assert row is not None  # an aggregate always has one row  # noqa: S101
        return PagesRead(pages=row[0], characters=row[1], blank=row[2], lost=tuple(row[3]))

    def read(self, document: Document, *, after: int, limit: int) -> list[Page]:
        """See the port."""
        rows = self._connection.execute(_PAGES["read"], _key(document) | {"after": after, "limit": limit})
        return [Page(*row) for row in rows]


def _key(document: Document) -> dict[str, object]:
    return {"document_id": document.id, "generation": document.target_generation}
