"""Turns whatever ended the picture child into an error with a sentence that a person can act on."""

import signal

from adapters.images.protocol import Limits, Refusal, Refused
from adapters.sandbox.frames import OUT_OF_MEMORY
from domain.errors import FailureCode, HeadraceError, PermanentError, TransientError

_SAVE_AGAIN = "open it in an image editor, save it again and upload the new file"

#: Code and sentence of each refusal.
_REFUSALS: dict[Refusal, tuple[FailureCode, str]] = {
    Refusal.NOT_AN_IMAGE: (
        FailureCode.NOT_AN_IMAGE,
        "The file is not an image that can be read. Upload a JPEG, PNG, WebP, GIF, AVIF or TIFF.",
    ),
    Refusal.DAMAGED: (
        FailureCode.IMAGE_DAMAGED,
        f"The image is damaged or was cut off, and cannot be read whole; {_SAVE_AGAIN}.",
    ),
    Refusal.TOO_MANY_PIXELS: (
        FailureCode.TOO_LARGE,
        "The image has {found:,} pixels and {allowed:,} are allowed, of all its frames together; make it smaller.",
    ),
    Refusal.TOO_MANY_FRAMES: (
        FailureCode.TOO_LARGE,
        "The animation has {found:,} frames and {allowed:,} are allowed; keep its first frame alone or cut it.",
    ),
    Refusal.OUTSIDE: (
        FailureCode.TARGET_UNREACHABLE,
        "The crop reaches beyond the picture, which is {found:,} by {allowed:,} pixels there; choose a smaller one.",
    ),
    Refusal.UNREACHABLE: (
        FailureCode.TARGET_UNREACHABLE,
        "The picture takes {found:,} bytes however poor it is made, and {allowed:,} are allowed; allow more.",
    ),
    Refusal.PDF_DAMAGED: (
        FailureCode.PDF_DAMAGED,
        "The page cannot be drawn because the PDF is damaged; export it again and upload the new file.",
    ),
    Refusal.PDF_ENCRYPTED: (
        FailureCode.PDF_ENCRYPTED,
        "The file is protected by a password; remove the protection and upload it again.",
    ),
    Refusal.NO_SUCH_PAGE: (
        FailureCode.TARGET_UNREACHABLE,
        "There is no page {found:,}: the document has {allowed:,}.",
    ),
}

#: Signals that people, service managers and a machine without memory send; the file is not to blame.
_FROM_OUTSIDE = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGKILL})


def refused(refusal: Refused) -> HeadraceError:
    """Explain why the child made no picture."""
    if refusal.reason not in _REFUSALS:
        return TransientError(FailureCode.BLOB_UNAVAILABLE, "The file to make a picture of could not be read.")
    code, sentence = _REFUSALS[refusal.reason]
    return PermanentError(code, sentence.format(found=refusal.found, allowed=refusal.allowed))


def died(status: int | None, limits: Limits) -> HeadraceError:
    """Explain the end of a child that left without a word."""
    if status is None or status in _FROM_OUTSIDE:
        return TransientError(FailureCode.INTERNAL_ERROR, "The process that makes pictures was stopped from outside.")
    if status == -signal.SIGALRM:
        return timed_out(limits)
    if status == -signal.SIGXCPU:
        return timed_out(limits)
    if status == OUT_OF_MEMORY:
        return PermanentError(
            FailureCode.PARSE_MEMORY,
            f"Making the picture took more than {limits.memory_bytes >> 20} MiB of memory; make the image smaller.",
        )
    return crashed(f"signal {-status}" if status < 0 else f"exit status {status}")


def timed_out(limits: Limits) -> PermanentError:
    """Explain that the picture took too long."""
    return PermanentError(
        FailureCode.PARSE_TIMEOUT,
        f"Making the picture took longer than {limits.wall_seconds:g} seconds; make the image smaller or ask for less.",
    )


def crashed(how: str) -> PermanentError:
    """Explain that the decoder broke."""
    return PermanentError(
        FailureCode.PARSER_CRASHED, f"The image made its decoder crash ({how}); repair it: {_SAVE_AGAIN}."
    )
