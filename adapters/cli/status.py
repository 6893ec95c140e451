"""`headrace status`: the whole, or one document or job."""

from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.cli.change import unknown
from adapters.cli.reading import Reading, Row
from adapters.cli.screen import facts, out, put_json, say, seconds, size, state, table
from adapters.cli.session import session
from domain.jobs import parse_uuid

HIDDEN = {"id", "workspace_id", "state", "job_id", "document_id", "seconds"}


def run_status(item: str | None, *, limit: int, workspace: str, data_dir: Path | None, as_json: bool) -> None:
    """Print an overview, or everything about one document or job."""
    item_id = parse_uuid("ID", item) if item else None
    with session(data_dir, workspace) as here:
        if item_id is None:
            found = _overview(here.reading, here.workspace_id, limit)
        else:
            found = _one(here.reading, item_id, here.workspace_id, workspace)
    if as_json:
        put_json(found)
    elif item_id is None:
        _print_overview(found)
    else:
        _print_one(found)


def _overview(reading: Reading, workspace_id: UUID, limit: int) -> Row:
    return {
        "documents": reading.count_by_state(),
        "queues": reading.queues(),
        "workers": reading.has_workers(),
        "newest": reading.newest(workspace_id, limit),
    }


def _one(reading: Reading, item_id: UUID, workspace_id: UUID, workspace: str) -> Row:
    document = reading.document(item_id, workspace_id)
    if document is not None:
        jobs = reading.stages(item_id)
        return {"document": document, "jobs": jobs, "attempts": reading.attempts([job["id"] for job in jobs])}
    job = reading.job(item_id)
    if job is None:
        raise unknown("document or job", item_id, workspace)
    return {"job": job, "attempts": reading.attempts([item_id])}


def _print_overview(found: Row) -> None:
    if found["newest"]:
        columns = ["document", "name", "state", "pages", "chunks", "size", "note"]
        out().print(table(columns, map(_document_cells, found["newest"]), right=["pages", "chunks", "size"]))
    else:
        out().print("There are no documents in this workspace yet: headrace ingest FILE.pdf")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found["documents"].items()))
    out().print(facts([("documents", counts or "none"), ("jobs", _queue_line(found["queues"]))]))
    if not found["workers"]:
        say("No worker is running: start `headrace up` or `headrace worker`.", "yellow")


def _queue_line(queues: list[Row]) -> str:
    return ", ".join(f"{row['jobs']} {row['state']} in {row['queue']}" for row in queues) or "none waiting or running"


def _document_cells(row: Row) -> list[object]:
    note = row["failure_code"] or row["warning"] or _progress(row)
    return [
        row["id"],
        row["name"],
        state(row["state"]),
        row["page_count"],
        row["chunk_count"],
        size(row["byte_count"]),
        note,
    ]


def _progress(row: Row) -> str:
    if row["state"] == "extracting" and row["page_count"]:
        return f"page {row['pages_done']} of {row['page_count']}"
    if row["state"] == "indexing" and row["chunk_count"]:
        return f"chunk {row['chunks_done']} of {row['chunk_count']}"
    return ""


def _print_one(found: Row) -> None:
    subject = found.get("document") or found["job"]
    out().print(facts([("id", subject["id"]), ("state", state(subject["state"])), *_facts(subject)]))
    columns = ["job", "attempt", "began", "took", "outcome", "error"]
    rows = [_attempt_cells(attempt) for attempt in found["attempts"]]
    if rows:
        out().print(table(columns, rows, right=["attempt", "took"]))


def _facts(subject: Row) -> list[tuple[str, Any]]:
    return [(name.replace("_", " "), _fact(value)) for name, value in subject.items() if name not in HIDDEN]


def _fact(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else value


def _attempt_cells(row: Row) -> list[object]:
    outcome = state(row["outcome"] or "running")
    return [row["actor"], row["lease"], _fact(row["started_at"]), seconds(row["seconds"]), outcome, row["error"]]
