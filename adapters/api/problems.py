"""Every error as RFC 9457 problem details: a code for programs, a sentence for people, nothing about the inside."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from domain.errors import FailureCode, InvalidJobError, InvalidMailError, PermanentError, TransientError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:headrace:problem:"

#: What a client waits when nobody knows better.
RETRY_SECONDS = 2

#: Statuses that the framework itself answers with, and the code each gets.
CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}

#: Refusals of the domain that are not simply a wrong request.
STATUS_OF_FAILURE = {
    FailureCode.TOO_LARGE: 413,
    FailureCode.NOT_A_PDF: 415,
    FailureCode.NOT_AN_IMAGE: 415,
    FailureCode.UNSUPPORTED_TYPE: 415,
    FailureCode.BLOB_MISSING: 404,
    FailureCode.DOCUMENT_MISSING: 404,
    FailureCode.MAIL_NOT_CONFIGURED: 503,
}

#: Faults of a client's values that are reported, and how much of each message: an error is no echo.
MOST_ERRORS, MESSAGE_CHARACTERS = 20, 300


class Problem(Exception):
    """An answer that is an error. `detail` is a sentence for a person; `more` are further members of the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = dict(more or {})


def not_found(what: str, item: object) -> Problem:
    """Say that the caller's workspace has no such thing, whether or not another one has it."""
    return Problem(404, f"{what}_not_found", f"There is no {what} {item}.")


def try_again(status: int, code: str, detail: str, seconds: float) -> Problem:
    """Say that the same request may succeed in so many seconds."""
    return Problem(status, code, detail, headers={"Retry-After": str(max(1, ceil(seconds)))})


def body_of(problem: Problem) -> dict[str, Any]:
    """Return the members of a problem."""
    return {
        "type": TYPE_PREFIX + problem.code.replace("_", "-"),
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **problem.more,
    }


def response_of(problem: Problem) -> JSONResponse:
    """Return a problem as a response."""
    return JSONResponse(body_of(problem), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Translate an error as the application would answer it."""
    return next(translate(error) for kind, translate in _TRANSLATIONS if isinstance(error, kind))


def install_problems(app: FastAPI) -> None:
    """Turn every expected error of an application into a problem, those of the framework included."""
    for kind, translate in _TRANSLATIONS:
        if kind is not Exception:  # bugs: see envelope.py
            app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Any], Problem]) -> Any:
    async def handle(_: Request, error: Exception) -> JSONResponse:
        return response_of(translate(error))

    return handle


def _of_framework(error: HTTPException) -> Problem:
    code = CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
    return Problem(error.status_code, code, f"{error.detail}".rstrip(".") + ".", headers=error.headers)


def _of_validation(error: RequestValidationError) -> Problem:
    faults = [
        {
            "location": str(fault["loc"][0]) if fault["loc"] else "body",
            "pointer": "".join(f"/{_escaped(part)}" for part in fault["loc"][1:]),
            "message": str(fault["msg"])[:MESSAGE_CHARACTERS],
        }
        for fault in error.errors()[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{fault['location']}{fault['pointer']}: {fault['message']}" for fault in faults[:3])
    return Problem(422, "invalid_request", f"The request is not valid: {detail}.", more={"errors": faults})


def _escaped(part: object) -> str:
    """Escape a part of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")[:MESSAGE_CHARACTERS]


def _of_refusal(error: PermanentError) -> Problem:
    return Problem(STATUS_OF_FAILURE.get(error.code, 422), str(error.code), error.message)


def _of_outage(error: TransientError) -> Problem:
    seconds = error.retry_after.total_seconds() if error.retry_after else RETRY_SECONDS
    return try_again(503, str(error.code), OUTAGES.get(error.code, "A part of the service does not work."), seconds)


#: What the caller may know of an outage. The cause is for the log.
OUTAGES = {
    FailureCode.DATABASE_UNAVAILABLE: "The database is not available at the moment. Nothing was changed; try again.",
    FailureCode.BLOB_UNAVAILABLE: "The file storage is not available at the moment. Nothing was changed; try again.",
    FailureCode.EMBEDDING_UNAVAILABLE: "The embedding service is not available at the moment; try again.",
}


def _of_invalid(error: InvalidJobError) -> Problem:
    sentence = str(error)
    return Problem(422, "invalid_request", f"{sentence[:1].upper()}{sentence[1:]}".rstrip(".") + ".")


def _of_invalid_mail(error: InvalidMailError) -> Problem:
    return Problem(422, "invalid_mail", f"The mail is refused: {error}.")


def _of_bug(error: Exception) -> Problem:
    logger.error("a request failed: %s", type(error).__name__, exc_info=error)
    return Problem(500, "internal_error", "The request failed for a reason that is not yours; it was written down.")


_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    (Problem, lambda problem: problem),
    (HTTPException, _of_framework),
    (RequestValidationError, _of_validation),
    (PermanentError, _of_refusal),
    (TransientError, _of_outage),
    (InvalidJobError, _of_invalid),
    (InvalidMailError, _of_invalid_mail),
    (Exception, _of_bug),
)
