"""Describe an exception as a failure: one code, one sentence, one fingerprint."""

import hashlib
import traceback

from domain.errors import FailureCode, HeadraceError, PermanentError, TransientError
from domain.ledger import Failure

TRACEBACK_FRAMES = 30
MESSAGE_LIMIT = 2000


def describe(exception: BaseException) -> Failure:
    """Turn an exception into a failure. Errors of our own speak for themselves; anything else is a bug."""
    trace = "".join(traceback.format_exception(exception, limit=TRACEBACK_FRAMES))
    if isinstance(exception, (PermanentError, TransientError)):
        return Failure(exception.code, _text(exception.message), exception.code, _text(trace, limit=20_000))
    name = type(exception).__name__
    if isinstance(exception, HeadraceError):
        return Failure(FailureCode.INTERNAL_ERROR, _text(str(exception)), name)
    sentence = f"The job stopped with an unexpected error ({name}); its traceback is kept with the attempt."
    return Failure(FailureCode.INTERNAL_ERROR, sentence, _fingerprint(exception), _text(trace, limit=20_000))


def _fingerprint(exception: BaseException) -> str:
    """Name the error and the place it came from, so that the same bug groups over documents and restarts."""
    frames = traceback.extract_tb(exception.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].line}" if frames else ""
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return f"{type(exception).__name__}-{digest}"


def _text(value: str, *, limit: int = MESSAGE_LIMIT) -> str:
    """Cut to what a column should hold; Postgres takes neither NUL nor lone surrogates."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:limit]
