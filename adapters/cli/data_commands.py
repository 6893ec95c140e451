"""What `headrace exports`, `erase`, `notifications` and `warm` do."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.bootstrap import make_blobs
from adapters.cli.screen import out, put_json, say, size, state, table
from adapters.cli.session import Session, session
from adapters.data_jobs import DataDesk, make_data_desk
from adapters.postgres.exports import ExportLinks
from adapters.postgres.jobs import named_job
from domain.errors import FailureCode, PermanentError
from domain.exports import parse_format
from domain.jobs import parse_uuid
from domain.notifications import Preference
from domain.ports import BlobStore

EXPORT_COLUMNS = ["export", "state", "format", "rows", "created", "expires"]
RECEIPT_COLUMNS = ["receipt", "state", "document", "erased"]
NOTIFICATION_COLUMNS = ["notification", "state", "user", "kind", "name", "created", "email", "note"]


def run_export(wanted: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Put in an export."""
    _put_in("export_workspace", {"format": str(parse_format(wanted))}, workspace, data_dir, as_json)


def run_warm(*, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Put in a warming."""
    _put_in("warm_cache", {}, workspace, data_dir, as_json)


def run_erase_document(document: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Put in the erasure of a document."""
    _put_in("erase_document", {"erased_id": parse_uuid("ID", document)}, workspace, data_dir, as_json)


def run_erase_workspace(workspace: str, *, data_dir: Path | None, as_json: bool) -> None:
    """Put in the erasure of a workspace."""
    _put_in("erase_workspace", {}, workspace, data_dir, as_json)


def run_list_exports(*, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print exports; none is an answer, too."""
    with _desk(data_dir, workspace) as (desk, here):
        rows = desk.exports.exports(here.workspace_id, limit=limit)
    _print(rows, EXPORT_COLUMNS, _export_cells, "The workspace has no export; `headrace exports create`.", as_json)


def run_download(export: str, folder: Path, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Copy an export's files and check them. Raises PermanentError (export_missing) unless all of it is there."""
    export_id = parse_uuid("ID", export)
    with _desk(data_dir, workspace) as (desk, here):
        row = desk.exports.export(export_id, here.workspace_id)
        if row is None or row["state"] != "ready":
            raise _missing(f"The export {export_id} is {row['state'] if row else 'not in this workspace'}.")
        links, blobs = ExportLinks(here.producer.pool), make_blobs(here.settings)
        for file in row["manifest"]["files"]:
            _copy(links, blobs, export_id, file, folder / file["name"])
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(row["manifest"], indent=2) + "\n", encoding="utf-8")
    if as_json:
        put_json(row["manifest"])
    else:
        total = size(sum(file["bytes"] for file in row["manifest"]["files"]))
        out().print(f"{len(row['manifest']['files'])} files, {total}, every hash as it should be: {folder}")


def run_receipts(*, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print receipts."""
    with _desk(data_dir, workspace) as (desk, here):
        rows = desk.erasures.receipts(here.workspace_id, limit=limit)
    _print(rows, RECEIPT_COLUMNS, _receipt_cells, "Nothing was erased in this workspace.", as_json)


def run_notifications(
    user: str | None, *, unread: bool, limit: int, workspace: str, data_dir: Path | None, as_json: bool
) -> None:
    """Print notifications."""
    with _desk(data_dir, workspace) as (desk, here):
        rows = desk.notifications.list(here.workspace_id, user=user, unread=unread, limit=limit)
    _print(rows, NOTIFICATION_COLUMNS, _notification_cells, "There is no such notification.", as_json)


def run_read(user: str, *, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Mark a user's notifications as read."""
    with _desk(data_dir, workspace) as (desk, here):
        count = desk.notifications.read(here.workspace_id, user=user)
    if as_json:
        put_json({"count": count})
    else:
        out().print(f"{count} marked as read.")


def run_prefer(
    user: str, kinds: Sequence[str], email: str | None, *, webhook: bool, workspace: str, data_dir: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Keep a user's wishes."""
    with _desk(data_dir, workspace) as (desk, here):
        desk.notifications.prefer(here.workspace_id, Preference(user, tuple(kinds), email, webhook))
        row = desk.notifications.preferences(here.workspace_id, user=user)[0]
    if as_json:
        put_json(row)
    else:
        out().print(f"{user} hears of {', '.join(kinds) or 'everything'}.")


@contextmanager
def _desk(data_dir: Path | None, workspace: str) -> Iterator[tuple[DataDesk, Session]]:
    with session(data_dir, workspace) as here:
        yield make_data_desk(here.producer.pool), here


def _put_in(name: str, params: Mapping[str, Any], workspace: str, data_dir: Path | None, as_json: bool) -> None:
    with session(data_dir, workspace) as here:
        job = named_job(name, {**params, "workspace_id": here.workspace_id})
        here.producer.ledger.enqueue(job)
    if as_json:
        put_json({"job_id": job.id})
    else:
        out().print(f"{job.id} will {name.replace('_', ' ')}; `headrace status {job.id}` tells how far it is.")


def _copy(links: ExportLinks, blobs: BlobStore, export_id: UUID, file: Mapping[str, Any], to: Path) -> None:
    kind, _, name = str(file["name"]).partition("/")
    found = links.follow(export_id, kind, int(name.partition(".")[0]))
    if found is None:
        raise _missing(f"The file {file['name']} of export {export_id} has expired.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with blobs.local_file(found["blob_key"]) as stored, to.open("wb") as copy, stored.open("rb") as source:
        shutil.copyfileobj(source, copy)
    with to.open("rb") as copied:
        if hashlib.file_digest(copied, "sha256").hexdigest() != file["sha256"]:
            raise _missing(f"The file {file['name']} of export {export_id} is damaged; export again.")


def _missing(message: str) -> PermanentError:
    return PermanentError(FailureCode.EXPORT_MISSING, message)


def _print(rows: Sequence[Any], columns: Sequence[str], cells: Any, nothing: str, as_json: bool) -> None:
    if as_json:
        put_json(rows)
    elif rows:
        out().print(table(columns, map(cells, rows), right=["rows"]))
    else:
        say(nothing)


def _export_cells(row: Mapping[str, Any]) -> list[object]:
    rows = sum(row["manifest"]["rows"].values()) if row["manifest"] else None
    times = [row[name].isoformat(timespec="seconds") for name in ("created_at", "expires_at")]
    return [row["id"], state(row["state"]), row["format"], rows, *times]


def _receipt_cells(row: Mapping[str, Any]) -> list[object]:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(row["counts"].items()) if count)
    return [row["id"], state("ok" if row["finished_at"] else "running"), row["document_id"] or "all", counts]


def _notification_cells(row: Mapping[str, Any]) -> list[object]:
    created = row["created_at"].isoformat(timespec="seconds")
    cells = [row["id"], "read" if row["read_at"] else "unread", row["user"], row["kind"], row["title"]]
    return [*cells, created, row["email"], row["note"]]
