"""Turns whatever ended the parser into an error with a sentence that a person can act on."""

import signal
from pathlib import Path

from adapters.pdf.protocol import Limits, Refusal, Refused
from adapters.sandbox.frames import OUT_OF_MEMORY
from domain.errors import FailureCode, HeadraceError, PermanentError, TransientError

_UPLOAD_AGAIN = "open it in a PDF viewer, export it again and upload the new file"

#: Code and sentence of each refusal; `{found}` is what was counted, `{page}` where.
_REFUSALS: dict[Refusal, tuple[FailureCode, str]] = {
    Refusal.EMPTY: (FailureCode.NOT_A_PDF, "The file is empty; upload it again."),
    Refusal.NOT_A_PDF: (FailureCode.NOT_A_PDF, "The file is not a PDF, whatever its name says; upload a PDF."),
    Refusal.ENCRYPTED: (
        FailureCode.PDF_ENCRYPTED,
        "The file is protected by a password; remove the protection and upload it again.",
    ),
    Refusal.DAMAGED: (
        FailureCode.PDF_DAMAGED,
        f"The file is damaged or was cut off, and no page can be found in it; {_UPLOAD_AGAIN}.",
    ),
    Refusal.NO_PAGES: (FailureCode.PDF_NO_PAGES, "The file is a PDF without any page; upload one with pages."),
    Refusal.TOO_MANY_PAGES: (
        FailureCode.TOO_LARGE,
        "The file has {found} pages and {pages} are allowed; split it and upload the parts.",
    ),
    Refusal.LONG_PAGE: (
        FailureCode.TOO_LARGE,
        "Page {page} holds {found} characters and {page_characters} are allowed; split the page or leave it out.",
    ),
    Refusal.LONG_DOCUMENT: (
        FailureCode.TOO_LARGE,
        "Up to page {page} the file holds {found} characters and {characters} are allowed; "
        "split it and upload the parts.",
    ),
}

#: Signals that people and service managers send; the file is not to blame.
_FROM_OUTSIDE = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})


def refused(refusal: Refused, limits: Limits, file: Path) -> HeadraceError:
    """Explain why the child refused the file."""
    if refusal.reason is Refusal.UNREADABLE:
        return TransientError(FailureCode.BLOB_UNAVAILABLE, f"The parser cannot read {file.name}.")
    code, sentence = _REFUSALS[refusal.reason]
    return PermanentError(
        code,
        sentence.format(
            page=refusal.page,
            found=refusal.found,
            pages=limits.pages,
            characters=limits.characters,
            page_characters=limits.page_characters,
        ),
    )


def died(status: int | None, place: str, limits: Limits) -> HeadraceError:
    """Explain the end of a child that left without a word; `place` is what it was doing, such as `on page 7`."""
    if status is None or status in _FROM_OUTSIDE:
        return TransientError(FailureCode.INTERNAL_ERROR, f"The parser was stopped from outside {place}.")
    if status == -signal.SIGALRM:
        return timed_out(place, f"{limits.page_seconds:g} seconds a page, {limits.wall_seconds:g} seconds in all")
    if status == -signal.SIGXCPU:
        return timed_out(place, f"{limits.cpu_seconds} seconds of computing in all")
    if status in (OUT_OF_MEMORY, -signal.SIGKILL):
        return PermanentError(
            FailureCode.PARSE_MEMORY,
            f"The parser ran out of memory {place} ({limits.memory_bytes >> 20} MiB are allowed); "
            f"make the file simpler: {_UPLOAD_AGAIN}.",
        )
    return crashed(place, f"signal {_signal_name(-status)}" if status < 0 else f"exit status {status}")


def timed_out(place: str, allowance: str) -> PermanentError:
    """Explain that the parser took too long."""
    return PermanentError(
        FailureCode.PARSE_TIMEOUT,
        f"The parser took too long {place} (allowed: {allowance}); make the file simpler: {_UPLOAD_AGAIN}.",
    )


def crashed(place: str, how: str) -> PermanentError:
    """Explain that the parser broke."""
    return PermanentError(
        FailureCode.PARSER_CRASHED, f"The parser crashed ({how}) {place}; repair the file: {_UPLOAD_AGAIN}."
    )


def nothing_left(page_count: int) -> PermanentError:
    """Explain that every page is there but none could be read."""
    pages = "its only page could not" if page_count == 1 else f"not one of its {page_count} pages could"
    return PermanentError(FailureCode.PDF_DAMAGED, f"The file is damaged: {pages} be read; {_UPLOAD_AGAIN}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
