"""Write the parts of an export: gzipped JSON lines, or Parquet."""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from domain.exports import COLUMNS, ColumnType, ExportFormat, ExportKind, Rows, line_of, unsupported

if TYPE_CHECKING:
    from arro3.core import Array, DataType, RecordBatch, Schema

#: Level 6 takes three times as long for a tenth less.
GZIP_LEVEL = 3
ZSTD = "zstd(3)"

#: Rows that the Parquet writer holds before it compresses them.
ROW_GROUP_ROWS = 5_000


class TemporaryPartFiles:
    """See domain.exports.PartFiles. Parts are built on the disk: a part's size is no matter of memory.

    Their files have no name, so that a worker that is killed leaves none behind.
    """

    @contextmanager
    def write(self, wanted: ExportFormat, kind: ExportKind, batches: Iterator[Rows]) -> Iterator[IO[bytes]]:
        """See the port."""
        with TemporaryFile() as file:
            if wanted is ExportFormat.PARQUET:
                _write_parquet(file, kind, batches)
            else:
                _write_lines(file, kind, batches)
            yield file


def _write_lines(file: IO[bytes], kind: ExportKind, batches: Iterator[Rows]) -> None:
    columns = tuple(COLUMNS[kind])
    # Without name and time in its head a file of the same rows is the same file.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as zipped:
        for batch in batches:
            zipped.write("".join(line_of(row, columns) + "\n" for row in batch).encode())


def _write_parquet(file: IO[bytes], kind: ExportKind, batches: Iterator[Rows]) -> None:
    try:
        from arro3.core import RecordBatchReader  # noqa: PLC0415 - an extra
        from arro3.io import write_parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise unsupported(ExportFormat.PARQUET) from None
    schema, columns, broken = _schema(kind), COLUMNS[kind], _Broken()
    reader = RecordBatchReader.from_batches(schema, broken.noting(_record_batch(b, columns, schema) for b in batches))
    try:
        write_parquet(reader, file, compression=ZSTD, max_row_group_size=ROW_GROUP_ROWS)
    except Exception:
        if broken.error is not None:  # what stopped the rows, not the library's words about it
            raise broken.error from None
        raise


class _Broken:
    """Remembers what stopped a stream that a library reads, which tells of it in words of its own."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def noting(self, stream: Iterator["RecordBatch"]) -> Iterator["RecordBatch"]:
        try:
            yield from stream
        except BaseException as error:
            self.error = error
            raise


def _types() -> Mapping[ColumnType, "DataType"]:
    from arro3.core import DataType, Field  # noqa: PLC0415

    return {
        ColumnType.TEXT: DataType.utf8(),
        ColumnType.INTEGER: DataType.int64(),
        ColumnType.BOOLEAN: DataType.bool(),
        ColumnType.VECTOR: DataType.list(Field("item", DataType.float32(), nullable=False)),
    }


def _schema(kind: ExportKind) -> "Schema":
    from arro3.core import Field, Schema  # noqa: PLC0415

    types = _types()
    return Schema([Field(name, types[column], nullable=True) for name, column in COLUMNS[kind].items()])


def _record_batch(rows: Rows, columns: Mapping[str, ColumnType], schema: "Schema") -> "RecordBatch":
    from arro3.core import RecordBatch  # noqa: PLC0415

    values = zip(*rows, strict=True)
    arrays = [_array(list(column), kind) for column, kind in zip(values, columns.values(), strict=True)]
    return RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: list[Any], kind: ColumnType) -> "Array":
    from arro3.core import Array, list_array  # noqa: PLC0415

    wanted = _types()[kind]
    if kind is ColumnType.VECTOR:
        offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
        flat = np.concatenate(values).astype(np.float32, copy=False)
        return list_array(Array.from_numpy(offsets), Array.from_numpy(flat), type=wanted)
    return Array(values, type=wanted)
