"""Compare an export's files with its manifest, and with the rows of the database."""

import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow.parquet as parquet

from domain.exports import part_name
from tests.chaos.site import Site

#: What the files must say of each kind, in this order.
ROWS = {
    "documents": (
        ("id", "name", "content_sha256", "chunk_count"),
        "SELECT id::text, name, encode(content_sha256, 'hex'), chunk_count FROM documents WHERE workspace_id = %s"
        " ORDER BY id",
    ),
    "pages": (
        ("document_id", "number", "text"),
        "SELECT document_id::text, number, text FROM document_pages JOIN documents d ON d.id = document_id"
        " WHERE workspace_id = %s ORDER BY document_id, number",
    ),
    "chunks": (
        ("document_id", "ordinal", "text", "text_hash"),
        "SELECT document_id::text, ordinal, text, encode(text_hash, 'hex') FROM chunks WHERE workspace_id = %s"
        " ORDER BY document_id, ordinal",
    ),
    "embeddings": (
        ("model", "text_hash", "embedding"),
        "SELECT model, encode(text_hash, 'hex'), embedding::real[] FROM chunk_embeddings WHERE workspace_id = %s"
        " ORDER BY model, text_hash",
    ),
}
PARTS = (
    "SELECT kind, number, row_count, byte_count, sha256, blob_key FROM export_parts WHERE export_id = %s ORDER BY 1, 2"
)


def compare(site: Site, export_id: UUID, workspace_id: UUID) -> Iterator[str]:
    """Yield what is wrong with an export of a workspace that nobody has changed."""
    rows = site.rows("SELECT manifest, format, changed_documents FROM exports WHERE id = %s", export_id)
    manifest, wanted, changed = rows[0] if rows else (None, "", None)
    if not manifest:
        yield f"export {export_id} has no manifest"
        return
    if changed:
        yield f"export {export_id} tells of {changed} changed documents; nobody changed any"
    noted = {file["name"]: (file["rows"], file["bytes"], file["sha256"]) for file in manifest["files"]}
    found: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in ROWS}
    for kind, number, count, size, digest, key in site.rows(PARTS, export_id):
        path = site.blob_folder / key
        content = path.read_bytes() if path.exists() else b""
        stored = (count, len(content), sha256(content).hexdigest())
        if noted.pop(part_name(kind, number, wanted), None) != stored or stored[1:] != (size, bytes(digest).hex()):
            yield f"a part of export {export_id} is not what was noted: {kind} {number}"
            continue
        found[kind] += _read(path, ROWS[kind][0])
    if noted:
        yield f"the manifest of export {export_id} lists files that are not there: {sorted(noted)}"
    for kind, (_, query) in ROWS.items():
        there_is = [tuple(map(_plain, row)) for row in site.rows(query, workspace_id)]
        if found[kind] != there_is or manifest["rows"][kind] != len(there_is):
            yield f"export {export_id} has {len(found[kind])} {kind}, the database {len(there_is)}, or others"


def _read(path: Path, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    if path.suffix == ".parquet":
        rows = parquet.read_table(path, columns=list(columns)).to_pylist()
    else:
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return [tuple(_plain(row[column]) for column in columns) for row in rows]


def _plain(value: Any) -> Any:
    """Make vectors comparable: both sides have them from the same halves."""
    return np.float32(value).tobytes() if isinstance(value, list) else value
