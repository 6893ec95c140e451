"""`headrace doctor`: check everything and say what to do."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from adapters.bootstrap import make_reader
from adapters.cli.checks import (
    Check,
    Finding,
    check_blobs,
    check_embedder,
    check_metrics_port,
    check_postgres,
    check_redis,
)
from adapters.cli.place import resolve
from adapters.cli.screen import out, put_json, say, state, table
from adapters.settings import Settings
from domain.errors import HeadraceError, SettingsError

#: The smallest PDF with a page of text.
TINY_PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 40>>stream
BT /F 12 Tf 20 50 Td (mill wheel) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""
WORDS = "mill wheel"


def run_doctor(data_dir: Path | None, *, as_json: bool) -> int:
    """Print a line for everything that was checked; return 1 if something fails."""
    findings = list(_findings(data_dir))
    if as_json:
        put_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    return int(any(finding.verdict == "fail" for finding in findings))


def _findings(data_dir: Path | None) -> Iterator[Finding]:
    try:
        settings, place = resolve(data_dir)
    except SettingsError as error:
        yield Finding("settings", "fail", str(error), "see docs/configuration.md")
        return
    source = "from a running `headrace up`" if place else "from environment, .env and secrets"
    yield Finding("settings", "ok", source)
    for check in CHECKS:
        yield from check(settings)


def check_parser(settings: Settings) -> Iterator[Finding]:
    """Let the sandbox read a page."""
    with tempfile.TemporaryDirectory(prefix="headrace-doctor-") as folder:
        file = Path(folder) / "tiny.pdf"
        file.write_bytes(TINY_PDF)
        try:
            reader = make_reader(settings)
            text = "".join(page.text for batch in reader.read_pages(file) for page in batch.pages)
        except (HeadraceError, OSError) as error:
            yield Finding("parser", "fail", str(error), "check PARSER_MEMORY_BYTES and the limits of this machine")
            return
    if WORDS in text:
        yield Finding("parser", "ok", f"{reader.version} reads a page in its sandbox")
    else:
        yield Finding("parser", "fail", f"read {text!r} instead of {WORDS!r}", "reinstall pymupdf")


CHECKS: Sequence[Check] = (
    check_postgres,
    check_redis,
    check_blobs,
    check_embedder,
    check_parser,
    check_metrics_port,
)


def _print(findings: Sequence[Finding]) -> None:
    rows = ([state(each.verdict), each.name, each.detail, each.advice] for each in findings)
    out().print(table(["", "what", "found", "what to do"], rows))
    failed = sum(finding.verdict == "fail" for finding in findings)
    warned = sum(finding.verdict == "warn" for finding in findings)
    if failed or warned:
        say(f"{failed} failed, {warned} could be better.", "red" if failed else "yellow")
    else:
        say("Everything is in order.", "green")
