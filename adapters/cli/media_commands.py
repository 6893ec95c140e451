"""What `headrace media` does."""

from collections.abc import Sequence
from pathlib import Path

from adapters.cli.ingest import NO_FILE, read_parts
from adapters.cli.reading import Row
from adapters.cli.screen import out, put_json, say, state, table
from adapters.cli.session import Session, session
from adapters.postgres.media import MediaReading
from domain.errors import PermanentError, TransientError

ADDED_COLUMNS = ["file", "media", "job", "note"]
LIST_COLUMNS = ["media", "kind", "state", "type", "size", "bytes", "name", "note"]


def run_add(files: Sequence[Path], *, workspace: str, data_dir: Path | None, as_json: bool) -> int:
    """Upload every file, also when some of them cannot be; return 1 if any could not."""
    with session(data_dir, workspace) as here:
        results = [_add(here, file) for file in files]
    if as_json:
        for result in results:
            put_json(result)
    else:
        cells = ([row["file"], row["media_id"], row["job_id"], row["message"]] for row in results)
        out().print(table(ADDED_COLUMNS, cells))
    return int(any(result["code"] for result in results))


def run_list(
    *, workspace: str, kind: str | None, state: str | None, limit: int, data_dir: Path | None, as_json: bool
) -> None:
    """Print pictures and files; none is an answer, too."""
    with session(data_dir, workspace) as here:
        reading = MediaReading(here.producer.pool, here.workspace_id)
        rows = reading.list(kind=kind, state=state, source_id=None, after=None, limit=limit)
    if as_json:
        put_json(rows)
    elif rows:
        out().print(table(LIST_COLUMNS, map(_cells, rows), right=["bytes"]))
    else:
        say("The workspace has no pictures; `headrace media add FILE` adds one.")


def _add(here: Session, file: Path) -> Row:
    added: Row = {"file": str(file), "media_id": None, "job_id": None, "code": None, "message": None}
    try:
        with file.open("rb") as stream:
            receipt = here.producer.media.receive_file(here.workspace_id, file.name, read_parts(stream))
    except (PermanentError, TransientError) as error:
        return added | {"code": error.code, "message": error.message}
    except OSError as error:
        return added | {"code": NO_FILE, "message": f"The file cannot be read: {error.strerror or error}."}
    return added | {"media_id": receipt.media_id, "job_id": receipt.job_id}


def _cells(row: Row) -> list[object]:
    size = f"{row['width']} x {row['height']}" if row["width"] else None
    kind, found = row["kind"], row["state"]
    return [row["id"], kind, state(found), row["media_type"], size, row["byte_count"], row["name"], row["failure_code"]]
