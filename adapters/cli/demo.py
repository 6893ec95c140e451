"""`headrace demo`: everything once, in a temporary folder."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path

from adapters.bootstrap import make_search
from adapters.cli.ingest import upload_file
from adapters.cli.own import Installation, own_installation, temporary_folder
from adapters.cli.progress import TERMINAL, watch
from adapters.cli.reading import Row
from adapters.cli.screen import out, put_json, say, seconds, table
from adapters.cli.search import print_hits
from adapters.cli.session import Session, opened
from domain.errors import FailureCode, PermanentError
from domain.search import Hit

SAMPLE_QUESTION = "How wide must the gap between wheel and breast be?"
HITS = 3
PATIENCE_SECONDS = 900.0
QUESTION_WORDS = 12


def run_demo(pdf: Path | None, *, query: str | None, keep: bool, as_json: bool) -> int:
    """Ingest the file, ask it something, and take everything down again; return 1 if the document failed."""
    began = time.monotonic()
    with as_file(files("adapters.cli").joinpath("sample.pdf")) as sample:
        file = pdf or sample
        if not file.is_file():
            raise PermanentError(FailureCode.NOT_A_PDF, f"There is no file {file}.")
        with temporary_folder(keep=keep) as folder:
            report = _run(folder, file, query or (None if pdf else SAMPLE_QUESTION))
    report["seconds"]["all"] = time.monotonic() - began
    _print(report, as_json=as_json)
    if keep:
        say(f"Kept in {folder}: run `headrace up --data-dir {folder}` to go on with it.")
    return int(report["document"]["state"] != "ready")


def _run(folder: Path, file: Path, query: str | None) -> Row:
    began = time.monotonic()
    say("Starting PostgreSQL, Valkey and workers ...", "dim")
    with own_installation(folder) as here, opened(here.settings) as session:
        here.wait_for_workers(session.reading.has_workers)
        took = {"start": time.monotonic() - began}
        document = _ingest(here, session, file)
        took |= _stages(session, document)
        question = query or question_from(session.reading.opening(document["id"]))
        began = time.monotonic()
        hits = _ask(session, document, question)
        took["search"] = time.monotonic() - began
        say("Stopping ...", "dim")
    return {"document": document, "seconds": took, "question": question, "hits": hits}


def _ingest(here: Installation, session: Session, file: Path) -> Row:
    upload = upload_file(file, session.producer.receive_document, session.workspace_id)
    if upload.receipt is None:
        raise PermanentError(FailureCode.NOT_A_PDF, f"{file.name}: {upload.sentence}")
    document_id = upload.receipt.document_id
    document = watch(session.reading, [document_id], give_up=here.patience(PATIENCE_SECONDS))[document_id]
    if document["state"] not in TERMINAL:
        say(f"The document is still {document['state']}. The workers' last words:\n{here.last_words()}", "red")
    return document


def _stages(session: Session, document: Row) -> dict[str, float]:
    jobs = session.reading.stages(document["id"])
    return {job["actor"].removesuffix("_document"): job["seconds"] for job in jobs if job["seconds"] is not None}


def _ask(session: Session, document: Row, question: str) -> Sequence[Hit]:
    if document["state"] != "ready":
        return []
    hits: Sequence[Hit] = make_search(session.settings, session.producer.pool)(
        session.workspace_id, question, limit=HITS
    )
    return hits


def question_from(text: str) -> str:
    """Make a question of how a document begins: its first line that reads like a title, else its first words."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    titles = (line for line in lines if len(line.split()) > 2 and sum(map(str.isalpha, line)) > len(line) / 2)
    return " ".join((next(titles, "") or text).split()[:QUESTION_WORDS])


def _print(report: Row, *, as_json: bool) -> None:
    document, took = report["document"], report["seconds"]
    if as_json:
        put_json({**report, "hits": [asdict(hit) for hit in report["hits"]]})
        return
    if document["state"] not in TERMINAL:
        return
    if document["state"] != "ready":
        say(f"{document['name']} failed ({document['failure_code']}): {document['failure_message']}", "red")
        return
    columns = ["pages", "chunks", "tokens", *took]
    counts = [f"{document[name]:,}" for name in ("page_count", "chunk_count", "tokens_embedded")]
    out().print(table(columns, [[*counts, *map(seconds, took.values())]], right=columns))
    if document["warning"]:
        say(document["warning"], "yellow")
    out().print(f"\n{report['question']}\n", style="bold")
    print_hits(report["hits"], report["question"])
