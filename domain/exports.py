"""Take a workspace along: documents, pages, chunks and embeddings as files, and a manifest that proves them."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import IO, Any, Protocol
from uuid import UUID

from domain.crash_points import crash_point
from domain.errors import FailureCode, PermanentError
from domain.jobs import Lease
from domain.ports import BlobStore


class ExportFormat(StrEnum):
    """How rows are written: gzipped JSON lines, or Parquet compressed with zstd."""

    JSONL = "jsonl"
    PARQUET = "parquet"


EXTENSIONS: Mapping[ExportFormat, str] = {ExportFormat.JSONL: "jsonl.gz", ExportFormat.PARQUET: "parquet"}


class ExportKind(StrEnum):
    """What an export is made of, in this order."""

    DOCUMENTS = "documents"
    PAGES = "pages"
    CHUNKS = "chunks"
    EMBEDDINGS = "embeddings"


class ColumnType(StrEnum):
    """What a column holds. Ids, hashes (hexadecimal) and times (ISO 8601, UTC) are texts: every reader has those."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    VECTOR = "vector"


_T, _I, _B, _V = ColumnType.TEXT, ColumnType.INTEGER, ColumnType.BOOLEAN, ColumnType.VECTOR

#: The columns of each kind's rows, in the order of the row.
COLUMNS: Mapping[ExportKind, Mapping[str, ColumnType]] = {
    ExportKind.DOCUMENTS: {
        "id": _T, "name": _T, "state": _T, "content_sha256": _T, "byte_count": _I, "generation": _I, "page_count": _I,
        "chunk_count": _I, "failure_code": _T, "failure_message": _T, "created_at": _T, "ready_at": _T,
    },
    ExportKind.PAGES: {"document_id": _T, "number": _I, "text": _T, "lost": _B},
    ExportKind.CHUNKS: {
        "document_id": _T, "ordinal": _I, "text": _T, "text_hash": _T, "page_from": _I, "page_to": _I, "char_start": _I,
        "char_end": _I, "token_count": _I,
    },
    ExportKind.EMBEDDINGS: {"model": _T, "text_hash": _T, "embedding": _V},
}  # fmt: skip

#: How many columns at the front are the key that rows are sorted by.
KEY_COLUMNS: Mapping[ExportKind, int] = {
    ExportKind.DOCUMENTS: 1,
    ExportKind.PAGES: 2,
    ExportKind.CHUNKS: 2,
    ExportKind.EMBEDDINGS: 2,
}

Row = tuple[Any, ...]
Rows = Sequence[Row]

#: The key of a row; what follows it comes next.
Place = tuple[Any, ...]

#: A part is as large as what a kill may cost: some seconds of work.
PART_ROWS = 25_000
#: Text and vectors of one part, and of what is read of them at a time, before they are compressed.
PART_BYTES = 32 * 1024 * 1024
BATCH_ROWS, BATCH_BYTES = 1_000, 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Export:
    """An export as an attempt finds it. `places`: behind which row each kind goes on; `done`: kinds that are whole."""

    id: UUID
    workspace_id: UUID
    format: ExportFormat
    started_at: datetime
    expires_at: datetime
    places: Mapping[ExportKind, Place]
    numbers: Mapping[ExportKind, int]
    done: frozenset[ExportKind]


@dataclass(frozen=True, slots=True)
class Part:
    """One stored file of an export."""

    kind: ExportKind
    number: int
    row_count: int
    byte_count: int
    sha256: bytes
    blob_key: str
    place: Place
    is_last: bool


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What one attempt did. `resumed_after`: parts that earlier attempts had stored."""

    export_id: UUID
    format: str
    parts: int
    row_count: int
    byte_count: int
    resumed_after: int
    changed_documents: int


class Exports(Protocol):
    """The exports of workspaces. Each method is one short transaction, fenced by the lease where it takes one."""

    def begin(self, workspace_id: UUID, wanted: ExportFormat, lease: Lease, *, keep: timedelta) -> Export:
        """Fix what the export is of, or find what an earlier attempt has made of it."""
        ...

    def read(self, export: Export, kind: ExportKind, after: Place, *, rows: int, size: int) -> Rows:
        """Return the next rows of a kind behind a place: so many, or fewer if they hold more than `size` bytes."""
        ...

    def expect_blob(self, export: Export, key: str, lease: Lease) -> None:
        """Note a blob before it is stored, so that it goes when the export expires, whatever happens."""
        ...

    def add_part(self, export: Export, part: Part, lease: Lease) -> None:
        """Note a stored part, from which on a later attempt goes on."""
        ...

    def finish(self, export: Export, lease: Lease) -> tuple[int, Sequence[Part]]:
        """Write the manifest and end the job; return how many documents have changed meanwhile, and every part."""
        ...


class PartFiles(Protocol):
    """Writes the files of parts."""

    def write(
        self, wanted: ExportFormat, kind: ExportKind, batches: Iterator[Rows]
    ) -> AbstractContextManager[IO[bytes]]:
        """Write rows into a temporary file, which is there until the block ends.

        Raises PermanentError (export_unsupported) without the library for the format.
        """
        ...


class PartOfRows:
    """The rows of one part, which is counted and measured while it is read."""

    def __init__(self, exports: Exports, export: Export, kind: ExportKind, lease: Lease) -> None:
        self._read = exports.read
        self._export = export
        self._kind = kind
        self._lease = lease
        self.place: Place = export.places.get(kind, ())
        self.rows = 0
        self.is_last = False

    def __call__(self, *, most_rows: int, most_bytes: int) -> Iterator[Rows]:
        """Yield batches until the part is full or nothing is left."""
        size = 0
        while self.rows < most_rows and size < most_bytes:
            self._lease.checkpoint()
            batch = self._next(min(BATCH_ROWS, most_rows - self.rows))
            if not batch:
                break
            self.place = batch[-1][: KEY_COLUMNS[self._kind]]
            self.rows += len(batch)
            size += sum(map(_size_of, batch))
            yield batch
        self.is_last = not self._next(1)

    def _next(self, rows: int) -> Rows:
        return self._read(self._export, self._kind, self.place, rows=rows, size=BATCH_BYTES)


def export_workspace(
    workspace_id: UUID,
    wanted: str,
    *,
    lease: Lease,
    exports: Exports,
    blobs: BlobStore,
    files: PartFiles,
    keep: timedelta,
    part_rows: int = PART_ROWS,
) -> ExportReport:
    """Write a workspace's documents, pages, chunks and embeddings to the blob store, in parts of bounded size.

    The export has the id of its job. A second delivery goes on behind the last part that was noted.

    Raises PermanentError (export_unsupported), TransientError, LeaseLostError.
    """
    export = exports.begin(workspace_id, parse_format(wanted), lease, keep=keep)
    for kind in ExportKind:
        if kind not in export.done:
            _write_kind(export, kind, lease, exports, blobs, files, part_rows)
    changed, parts = exports.finish(export, lease)
    return ExportReport(
        export_id=export.id,
        format=export.format,
        parts=len(parts),
        row_count=sum(part.row_count for part in parts),
        byte_count=sum(part.byte_count for part in parts),
        resumed_after=sum(export.numbers.values()),
        changed_documents=changed,
    )


def _write_kind(  # noqa: PLR0917 - one loop of the use case, with its ports
    export: Export,
    kind: ExportKind,
    lease: Lease,
    exports: Exports,
    blobs: BlobStore,
    files: PartFiles,
    part_rows: int,
) -> None:
    rows, number = PartOfRows(exports, export, kind, lease), export.numbers.get(kind, 0)
    while not rows.is_last:
        number += 1
        rows.rows = 0
        key = blob_key(export, kind, number, lease)
        with files.write(export.format, kind, rows(most_rows=part_rows, most_bytes=PART_BYTES)) as file:
            exports.expect_blob(export, key, lease)
            content = _Measured(file)
            blobs.put(key, content)
            crash_point("after_export_part_stored")
        part = Part(kind, number, rows.rows, content.size, content.sha256, key, rows.place, rows.is_last)
        exports.add_part(export, part, lease)
        crash_point("after_export_part")


def blob_key(export: Export, kind: ExportKind, number: int, lease: Lease) -> str:
    """Name a part's blob. The lease is in it: a stale attempt never replaces what was noted."""
    name = f"{kind}-{number:05}.{lease.number}.{EXTENSIONS[export.format]}"
    return f"{export.workspace_id}/exports/{export.id}/{name}"


def part_name(kind: str, number: int, wanted: str) -> str:
    """Name a part as whoever downloads it sees it."""
    return f"{kind}/{number:05}.{EXTENSIONS[ExportFormat(wanted)]}"


def parse_format(text: str) -> ExportFormat:
    """Read a format. Raises PermanentError (export_unsupported) that lists what there is."""
    try:
        return ExportFormat(text)
    except ValueError:
        message = f"There is no format {text[:40]!r}; there are: {', '.join(ExportFormat)}."
        raise PermanentError(FailureCode.EXPORT_UNSUPPORTED, message) from None


def sign_link(secret: bytes, name: str, expires: int) -> str:
    """Sign a download link: whoever has it may read this one file until then (seconds since 1970)."""
    return hmac.new(secret, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()


def is_signed(secret: bytes, name: str, expires: int, signature: str) -> bool:
    """Tell whether a link's signature is ours, in a time that does not tell how wrong it is."""
    return hmac.compare_digest(sign_link(secret, name, expires).encode(), signature.encode())


def unsupported(wanted: ExportFormat) -> PermanentError:
    """Say that a format's library is not installed."""
    message = f"Exports as {wanted} need a library that is not installed here: pip install 'headrace[export]'."
    return PermanentError(FailureCode.EXPORT_UNSUPPORTED, message)


def line_of(row: Row, columns: Iterable[str]) -> str:
    """Write a row as one line of JSON."""
    values = (value if not hasattr(value, "tolist") else value.tolist() for value in row)
    return json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False, separators=(",", ":"))


def _size_of(row: Row) -> int:
    """Estimate what a row holds: characters, and four bytes a number of a vector."""
    return sum(len(value) * (1 if isinstance(value, str) else 4) for value in row if hasattr(value, "__len__"))


class _Measured:
    """The content of a file, counted and hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while part := self._file.read(1024 * 1024):
            self.size += len(part)
            self._hash.update(part)
            yield part

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()
