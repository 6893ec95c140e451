"""Idempotency-Key: a request that is sent twice has one effect, and both times the same answer."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Header, Request
from fastapi.responses import JSONResponse

from adapters.api.problems import Problem, try_again
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.idempotency import Answer, KeyInUseError, KeyLostError, RequestKey, StoredAnswer
from domain.errors import HeadraceError

MOST_CHARACTERS = 255

#: How long a request may work with its key, beyond the time of an upload.
PATIENCE = timedelta(minutes=1)

#: Keeps an answer in the transaction that makes it true.
Remember = Callable[[Answer], None]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any text of up to 255 printable characters, in quotes or not. The same key with the same request "
        "gets the same answer for a day.",
        json_schema_extra={"pattern": r"^[!-~]{1,255}$", "minLength": 1, "maxLength": MOST_CHARACTERS},
    ),
]


class Hashed:
    """A stream of bytes that is hashed while it passes."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = content
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for part in self._content:
            self._hash.update(part)
            yield part

    def digest(self, *more: str) -> bytes:
        """Return the hash of what has passed, together with what else makes the request what it is."""
        whole = self._hash.copy()
        for part in more:
            whole.update(b"\0" + part.encode("utf-8", "replace"))
        return whole.digest()


class Repeatable:
    """One request that may carry a key. Its methods run in a thread."""

    def __init__(
        self, request: Request, workspace: WorkspaceRuntime, key: str | None, *, upload_seconds: int = 0
    ) -> None:
        """Raises Problem: 400 for a key that is none."""
        self._patience = PATIENCE + timedelta(seconds=upload_seconds)
        operation = f"{request.method} {request.url.path}"
        self._key = workspace.request_key(operation, _checked(key)) if key is not None else None
        self.query = urlencode(sorted(request.query_params.multi_items()))

    def answer(self, work: Callable[[Remember], Answer]) -> Answer:
        """Do what a request without content asks for, once."""
        return self.answer_upload(lambda _, remember: work(remember), ())

    def answer_upload(
        self, work: Callable[[Iterable[bytes], Remember], Answer], content: Iterable[bytes], *more: str
    ) -> Answer:
        """Do what an upload asks for, once; `more`: what belongs to the request besides query and content.

        Raises Problem: 409 while an earlier request works on it, 422 when the earlier one was different.
        """
        hashed, key = Hashed(content), self._key
        if key is None:
            return work(hashed, lambda _: None)
        stored = _begin(key, self._patience)
        if stored is not None:
            for _ in hashed:  # to know whether it is the same
                pass
            return _replayed(stored, hashed.digest(self.query, *more))
        try:
            return work(hashed, lambda answer: key.remember(hashed.digest(self.query, *more), answer))
        except KeyLostError:
            raise Problem(
                409, "idempotency_key_in_use", "The request took too long and another one took over."
            ) from None
        except BaseException:
            _release(key)
            raise


def respond(answer: Answer) -> JSONResponse:
    """Return an answer as a response."""
    return JSONResponse(answer.body, answer.status, headers=answer.headers)


def _begin(key: RequestKey, patience: timedelta) -> StoredAnswer | None:
    try:
        return key.begin(patience)
    except KeyInUseError:
        detail = "A request with this Idempotency-Key is being worked on; wait for its answer."
        raise try_again(409, "idempotency_key_in_use", detail, 2) from None


def _release(key: RequestKey) -> None:
    """Give the key back; if that fails, too, the key comes free by itself, and the first error is the one to tell."""
    try:
        key.release()
    except HeadraceError:
        return


def _replayed(stored: StoredAnswer, fingerprint: bytes) -> Answer:
    if stored.fingerprint != fingerprint:
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key was used for a different request.")
    answer = stored.answer
    return Answer(answer.status, answer.headers | {"Idempotency-Replayed": "true"}, answer.body)


def _checked(key: str) -> str:
    """Return the key without the quotes of a structured field's string."""
    text = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 1 <= len(text) <= MOST_CHARACTERS or not text.isascii() or not text.isprintable():
        detail = f"The Idempotency-Key must have from 1 to {MOST_CHARACTERS} printable ASCII characters."
        raise Problem(400, "invalid_idempotency_key", detail)
    return text
