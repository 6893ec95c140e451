"""Embeddings from OpenAI or any server that speaks its `/v1/embeddings`.

What goes wrong there is translated here and nowhere else:

| answer | becomes |
| --- | --- |
| 429 | ParkedError until Retry-After (20 s when absent, 15 min at most); `insufficient_quota`: 15 min |
| 401, 403 | TransientError after 5 min: a rotated key mends itself, a wrong one ends in a sentence after some retries |
| 408, 409, 425, 5xx, no answer within the deadline, no connection | TransientError |
| any other 4xx | PermanentError with the server's own words |
| vectors of another length | PermanentError: a setting is wrong |
| another number of vectors, wrong order, NaN, not JSON | TransientError: the server is sick |
"""

import asyncio
import os
import re
import threading
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from domain.embedding import check_texts, unit_vectors
from domain.errors import FailureCode, HeadraceError, ParkedError, PermanentError, TransientError
from domain.ports import EmbeddingLimits, Embeddings, Vectors
from domain.tokens import estimate_tokens

if TYPE_CHECKING:
    from openai import APIStatusError

Result = TypeVar("Result")

#: How long the models' vectors are unless one asks for less; only those of the third generation can be asked.
OWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}

OPENAI_URL = "https://api.openai.com/v1"
TOKENS_PER_INPUT = 8192

DEFAULT_WAIT = timedelta(seconds=20)
LONGEST_WAIT = timedelta(minutes=15)
KEY_WAIT = timedelta(minutes=5)

_CONNECT_SECONDS = 5
_RETRYABLE = frozenset({408, 409, 425})
_SECRET = re.compile(r"\b(?:sk|Bearer)[- ][\w*.-]+")
_LONGEST_QUOTE = 300


class OpenAIEmbedder:
    """Embeds over HTTP. Safe to share between threads and, before its first use, with forked processes.

    One request per call, never repeated here: the job's own retries know about budgets and deadlines.
    """

    def __init__(
        self,
        *,
        model: str,
        dimensions: int,
        api_key: str | None,
        base_url: str | None = None,
        inputs_per_request: int = 128,
        tokens_per_request: int = 250_000,
        requests_at_a_time: int = 4,
        timeout_seconds: float = 60,
    ) -> None:
        self.dimensions = dimensions
        self._name = model
        self._key = api_key or "none"  # the client demands one; local servers ignore it
        self._url = base_url or OPENAI_URL
        self._limits = EmbeddingLimits(inputs_per_request, tokens_per_request, TOKENS_PER_INPUT, requests_at_a_time)
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    @property
    def model(self) -> str:
        """Name provider, model and dimensions: vectors of different lengths must not meet under one name."""
        return f"openai/{self._name}-{self.dimensions}"

    @property
    def limits(self) -> EmbeddingLimits:
        """Return what one call of `embed` may carry."""
        return self._limits

    @property
    def is_free(self) -> bool:
        """Say that vectors are paid for, or have to be waited for."""
        return False

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts in one request that ends, whatever the server does, after `timeout_seconds`."""
        check_texts(texts)
        if not texts:
            return Embeddings(np.empty((0, self.dimensions), np.float32), tokens=0)
        answer = _read(self._ask(texts))
        raw = _vectors_in_order(answer, len(texts))
        vectors = unit_vectors(raw, count=len(texts), dimensions=self.dimensions)
        return Embeddings(vectors, tokens=_tokens_used(answer, texts))

    def _ask(self, texts: Sequence[str]) -> bytes:
        """Return the body of the answer. `embeddings.create` would spend more time on its models than on the rest."""
        from openai import OpenAIError  # noqa: PLC0415 - takes a second to import

        connection = self._connect()
        body = {"model": self._name, "input": texts, "encoding_format": "base64", **self._asked_dimensions()}
        try:
            request = connection.client.post("/embeddings", content=to_json(body), cast_to=bytes)
            return connection.run(request, self._timeout_seconds)
        except (OpenAIError, OSError, ValueError) as error:
            self._fail(error)

    def _asked_dimensions(self) -> dict[str, Any]:
        """Ask only a model known to shorten its vectors: many compatible servers reject the parameter."""
        own = OWN_DIMENSIONS.get(self._name)
        return {} if own in (None, self.dimensions) else {"dimensions": self.dimensions}

    def _connect(self) -> "_Connection":
        with self._lock:
            if self._connection is None or self._connection.process != os.getpid():
                self._connection = _Connection(self._key, self._url, self._timeout_seconds)
            return self._connection

    def _fail(self, error: Exception) -> NoReturn:
        """Raise our error for theirs; drop theirs when the server quoted the key in it."""
        raise _translate(error, self._key) from (None if self._key in str(error) else error)


class _Connection:
    """The client and the event loop it lives on, in a thread of its own.

    Only a cancelled coroutine gives up at once: a blocking client's timeout is per read, so that a server which sends
    a byte now and then holds its caller for ever.
    """

    def __init__(self, key: str, url: str, timeout_seconds: float) -> None:
        from openai import AsyncOpenAI, Timeout  # noqa: PLC0415

        self.process = os.getpid()
        timeout = Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds))
        self.client: AsyncOpenAI = AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=timeout)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="embeddings", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Result], timeout_seconds: float) -> Result:
        """Return what `work` returns; raise TimeoutError when it takes longer, and stop it if the caller is stopped."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_seconds), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()


class _Vector(BaseModel):
    """One of the answer's vectors: base64 of little-endian floats, or numbers from servers that know nothing else."""

    model_config = ConfigDict(val_json_bytes="base64", hide_input_in_errors=True)

    index: int
    embedding: bytes | list[float]

    @property
    def numbers(self) -> Vectors:
        if isinstance(self.embedding, bytes):
            return np.frombuffer(self.embedding, "<f4")
        return np.array(self.embedding, dtype=np.float32)


class _Answer(BaseModel):
    """What of the answer is read. Checked, and its base64 decoded, in one pass over the JSON."""

    model_config = ConfigDict(hide_input_in_errors=True)

    data: list[_Vector]
    usage: Any = None


def _read(body: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(body)
    except ValidationError as error:
        raise _malformed() from error


def _vectors_in_order(answer: _Answer, count: int) -> list[Vectors]:
    items = sorted(answer.data, key=lambda item: item.index)
    if len(items) == count and [item.index for item in items] != list(range(count)):
        raise _malformed()
    try:
        return [item.numbers for item in items]
    except ValueError as error:
        raise _malformed() from error


def _malformed() -> TransientError:
    message = "The embedding server's answer is not in the format of OpenAI's /v1/embeddings."
    return TransientError(FailureCode.EMBEDDING_UNAVAILABLE, message)


def _tokens_used(answer: _Answer, texts: Sequence[str]) -> int:
    usage = answer.usage if isinstance(answer.usage, dict) else {}
    reported = usage.get("total_tokens")
    return reported if isinstance(reported, int) and reported > 0 else sum(map(estimate_tokens, texts))


def _translate(error: Exception, key: str) -> HeadraceError:
    from openai import APIConnectionError, APIStatusError, APITimeoutError  # noqa: PLC0415

    if isinstance(error, APIStatusError):
        return _translate_status(error, _words(error, key))
    if isinstance(error, TimeoutError | APITimeoutError):
        return _unavailable("did not answer in time (EMBEDDING_TIMEOUT_SECONDS)")
    if isinstance(error, OSError | APIConnectionError):
        return _unavailable("cannot be reached (OPENAI_BASE_URL)")
    return _unavailable(f"sent no valid answer ({type(error).__name__})")


def _translate_status(error: "APIStatusError", words: str) -> HeadraceError:
    status = error.status_code
    if status == 429:
        return _parked(error, words)
    if status in {401, 403}:
        return _unavailable(f"refused the key in OPENAI_API_KEY ({status}): {words}", KEY_WAIT)
    if status in _RETRYABLE or status >= 500:
        return _unavailable(f"answered {status}: {words}", _asked_wait(error))
    message = f"The embedding server rejected the request ({status}): {words}"
    return PermanentError(FailureCode.EMBEDDING_REJECTED, message)


def _parked(error: "APIStatusError", words: str) -> ParkedError:
    if "insufficient_quota" in (error.code, error.type):
        message = f"The account of the embedding provider has no credit left: {words}"
        return ParkedError(FailureCode.EMBEDDING_UNAVAILABLE, message, retry_after=LONGEST_WAIT)
    message = f"The embedding server asks to wait: {words}"
    return ParkedError(FailureCode.EMBEDDING_UNAVAILABLE, message, retry_after=_asked_wait(error) or DEFAULT_WAIT)


def _unavailable(what: str, retry_after: timedelta | None = None) -> TransientError:
    message = f"The embedding server {what}"
    return TransientError(FailureCode.EMBEDDING_UNAVAILABLE, message, retry_after=retry_after)


def _asked_wait(error: "APIStatusError") -> timedelta | None:
    """Return how long the server asks to wait, between nothing and 15 minutes; None when it does not say."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            return _bounded(timedelta(milliseconds=float(headers["retry-after-ms"])))
        return _bounded(_read_retry_after(headers["retry-after"]))
    except (KeyError, ValueError, OverflowError, TypeError):
        return None


def _read_retry_after(value: str) -> timedelta:
    """Read seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\s*[\d.]+\s*", value):
        return timedelta(seconds=float(value))
    return parsedate_to_datetime(value) - datetime.now(UTC)


def _bounded(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta()), LONGEST_WAIT)


def _words(error: "APIStatusError", key: str) -> str:
    """Return what the server said, on one line, short, without secrets."""
    body = error.body
    said = str(body.get("message") or body) if isinstance(body, dict) else str(body or error.message)
    clean = _SECRET.sub("***", said.replace(key, "***") if len(key) >= 8 else said)
    return " ".join(clean.split())[:_LONGEST_QUOTE]
