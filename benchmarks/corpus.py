"""Ingest every PDF of a folder with real workers and judge what became of each: `python -m benchmarks.corpus DIR`.

Files below `good` must become ready; every other file must end ready, or failed with a typed code and a sentence.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from adapters.cli.ingest import Upload, upload_file
from adapters.cli.own import Installation, own_installation, temporary_folder
from adapters.cli.progress import TERMINAL, watch
from adapters.cli.reading import Row
from adapters.cli.screen import out, say, seconds, state, table
from adapters.cli.session import Session, opened
from domain.errors import FailureCode, HeadraceError

GOOD = "good"
PATIENCE_SECONDS = 1_200.0
SHORTEST_SENTENCE = 20


@dataclass(frozen=True)
class Outcome:
    """What became of a file. `seconds`: what its jobs took; it waited besides."""

    file: str
    state: str
    code: str | None
    pages: int | None
    chunks: int | None
    seconds: float | None
    sentence: str | None

    @property
    def must_be_ready(self) -> bool:
        return GOOD in Path(self.file).parts[:-1]


@dataclass(frozen=True)
class Run:
    """The run as a whole."""

    outcomes: list[Outcome]
    seconds: float
    died: list[int]
    crashed_attempts: int
    unfinished_jobs: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row there, too")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() == ".pdf" and path.is_file())
    if not files:
        sys.exit(f"There is no PDF below {arguments.folder}.")
    run = ingest(arguments.folder, files, processes=arguments.processes, threads=arguments.threads)
    faults = list(find_faults(run))
    print_run(run, faults)
    if arguments.json:
        arguments.json.write_text(json.dumps({**asdict(run), "faults": faults}, ensure_ascii=False, indent=1) + "\n")
    return int(bool(faults))


def ingest(folder: Path, files: Sequence[Path], *, processes: int, threads: int) -> Run:
    """Upload the files into an installation of their own and wait for all of them."""
    with (
        temporary_folder() as place,
        own_installation(place, processes=processes, threads=threads) as here,
        opened(here.settings) as session,
    ):
        here.wait_for_workers(session.reading.has_workers)
        workers, began = children(here.worker.pid), time.monotonic()
        uploads = [_upload(file, session) for file in files]
        ids = list({upload.receipt.document_id for upload in uploads if upload.receipt})
        rows = watch(session.reading, ids, give_up=here.patience(PATIENCE_SECONDS))
        took = time.monotonic() - began
        died = sorted(workers - children(here.worker.pid))
        outcomes = [_outcome(folder, upload, rows, session) for upload in uploads]
        attempts = session.reading.attempts([job["id"] for each in ids for job in session.reading.stages(each)])
        crashed = sum(attempt["outcome"] == "crashed" for attempt in attempts)
        return Run(outcomes, took, died, crashed, _unfinished_jobs(session, here))


def children(pid: int) -> set[int]:
    """Return the processes that a process has started; empty where /proc does not tell."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for listing in found for child in listing.read_text().split()}


def _upload(file: Path, session: Session) -> Upload:
    try:
        return upload_file(file, session.producer.receive_document, session.workspace_id)
    except HeadraceError as error:
        return Upload(str(file), None, type(error).__name__, str(error))


def _outcome(folder: Path, upload: Upload, rows: dict[UUID, Row], session: Session) -> Outcome:
    name = str(Path(upload.file).relative_to(folder))
    if upload.receipt is None:
        return Outcome(name, "failed", upload.code, None, None, None, upload.sentence)
    row = session.reading.document(upload.receipt.document_id, session.workspace_id) or rows[upload.receipt.document_id]
    took = sum(job["seconds"] or 0 for job in session.reading.stages(row["id"]))
    sentence = row["failure_message"] or row["warning"]
    return Outcome(name, row["state"], row["failure_code"], row["page_count"], row["chunk_count"], took, sentence)


def _unfinished_jobs(session: Session, here: Installation) -> int:
    """Count the jobs that are left; the last transaction of a document may end a moment after its state is seen."""
    deadline = time.monotonic() + 5
    while (left := sum(row["jobs"] for row in session.reading.queues())) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        say(f"The workers' last words:\n{here.last_words()}", "red")
    return left


def find_faults(run: Run) -> Iterator[str]:
    """Name everything that must not be, one sentence each."""
    for outcome in run.outcomes:
        yield from (f"{outcome.file}: {fault}" for fault in _faults_of(outcome))
    if run.died:
        yield f"worker processes died: {run.died}"
    if run.crashed_attempts:
        yield f"{run.crashed_attempts} attempts ended because their worker went silent"
    if run.unfinished_jobs:
        yield f"{run.unfinished_jobs} jobs are unfinished"


def _faults_of(outcome: Outcome) -> Iterator[str]:
    if outcome.state not in TERMINAL:
        yield f"is still {outcome.state}"
    if outcome.state == "ready" and not outcome.chunks:
        yield "is ready without any chunk"
    if outcome.must_be_ready and outcome.state != "ready":
        yield f"should be ready and is {outcome.state}"
    if outcome.state == "failed":
        if outcome.code not in set(FailureCode) - {FailureCode.INTERNAL_ERROR}:
            yield f"failed with {outcome.code}, which names no fault of the file"
        if len(outcome.sentence or "") < SHORTEST_SENTENCE:
            yield "failed without a sentence"


def print_run(run: Run, faults: Sequence[str]) -> None:
    columns = ["file", "state", "code", "pages", "chunks", "seconds", "sentence"]
    rows = [(o.file, state(o.state), o.code, o.pages, o.chunks, seconds(o.seconds), o.sentence) for o in run.outcomes]
    out().print(table(columns, rows, right=["pages", "chunks", "seconds"]))
    states = Counter(outcome.state for outcome in run.outcomes)
    pages = sum(outcome.pages or 0 for outcome in run.outcomes if outcome.state == "ready")
    chunks = sum(outcome.chunks or 0 for outcome in run.outcomes if outcome.state == "ready")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    out().print(f"{len(run.outcomes)} files in {run.seconds:.1f} s: {counts}; {pages} pages, {chunks} chunks ready")
    for fault in faults:
        out().print(f"FAULT {fault}", style="bold red")
    if not faults:
        out().print("Every file ended as it should.", style="green")


if __name__ == "__main__":
    sys.exit(main())
