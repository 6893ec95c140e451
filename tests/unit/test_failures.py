"""An exception becomes one code, one sentence and one fingerprint that a table can hold."""

import pytest

from domain.errors import FailureCode, PermanentError, TransientError
from middleware.failures import MESSAGE_LIMIT, describe


def caught(function, *arguments) -> BaseException:
    try:
        function(*arguments)
    except BaseException as error:
        return error
    raise AssertionError


def divide(by: int) -> float:
    return 1 / by


def convert(text: str) -> int:
    return int(text)


@pytest.mark.parametrize("kind", [PermanentError, TransientError])
def test_errors_of_our_own_speak_for_themselves(kind) -> None:
    failure = describe(kind(FailureCode.TOO_LARGE, "It is too large."))

    assert (failure.code, failure.message) == (FailureCode.TOO_LARGE, "It is too large.")
    assert failure.fingerprint == "too_large"


def test_a_bug_keeps_its_traceback_and_tells_no_secret() -> None:
    failure = describe(caught(convert, "the password"))

    assert failure.code is FailureCode.INTERNAL_ERROR
    assert "ValueError" in failure.message
    assert "the password" not in failure.message
    assert "in convert" in (failure.traceback or "")


def test_the_same_bug_has_the_same_fingerprint() -> None:
    assert describe(caught(convert, "a")).fingerprint == describe(caught(convert, "b")).fingerprint


def test_another_bug_has_another_fingerprint() -> None:
    assert describe(caught(convert, "a")).fingerprint != describe(caught(divide, 0)).fingerprint


def test_an_exception_that_was_never_raised_has_a_fingerprint_too() -> None:
    assert describe(ValueError()).fingerprint.startswith("ValueError-")


@pytest.mark.parametrize("message", ["NUL \0 inside", "lone \ud800 surrogate", "x" * 10_000])
def test_a_column_can_hold_the_message(message: str) -> None:
    failure = describe(PermanentError(FailureCode.TOO_LARGE, message))

    assert "\0" not in failure.message
    assert len(failure.message.encode()) <= 4 * MESSAGE_LIMIT
    (failure.traceback or "").encode()
    assert "\0" not in (failure.traceback or "")


def test_an_exception_group_is_described() -> None:
    assert describe(ExceptionGroup("two", [ValueError(), KeyError()])).fingerprint.startswith("ExceptionGroup")


def test_a_cause_is_part_of_the_traceback() -> None:
    error = TransientError(FailureCode.BLOB_UNAVAILABLE, "away")
    error.__cause__ = ConnectionResetError("by peer")

    assert "ConnectionResetError: by peer" in (describe(error).traceback or "")
