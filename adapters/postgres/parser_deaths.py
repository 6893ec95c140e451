"""Files that killed their parser, by content and parser version."""

from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.documents import Document
from domain.errors import FailureCode, PermanentError

_DEATHS = load_queries("parser_deaths")

#: One death may be the machine's fault.
QUARANTINE_AFTER = 2


class PostgresParserDeaths:
    """See domain.ports.ParserDeaths."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, document: Document, parser_version: str) -> PermanentError | None:
        """See the port."""
        row = self._connection.execute(_DEATHS["find"], _key(document, parser_version)).fetchone()
        if row is None or row[0] < QUARANTINE_AFTER:
            return None
        deaths, code, message = row
        sentence = f"{message} The same file did so {deaths} times and is not parsed again until the parser changes."
        return PermanentError(FailureCode(code), sentence)

    def record(self, document: Document, parser_version: str, error: PermanentError) -> bool:
        """See the port."""
        params = _key(document, parser_version) | {"code": error.code, "message": error.message}
        row = self._connection.execute(_DEATHS["record"], params).fetchone()
        return row is not None and row[0] >= QUARANTINE_AFTER


def _key(document: Document, parser_version: str) -> dict[str, object]:
    return {"content_sha256": document.content_sha256, "parser_version": parser_version}
