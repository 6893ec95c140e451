"""A real OpenAI-compatible `/v1/embeddings` server on loopback, which can be told to misbehave.

    with EmbeddingsServer(dimensions=8) as server:
        server.misbehave(Fault.RATE_LIMITED, times=2, retry_after="7")
        OpenAIEmbedder(model="fake", dimensions=8, api_key="test", base_url=server.url)
        assert server.requests[0].inputs == 3

Vectors are a function of the text alone, so that equal texts get equal vectors in every process.
"""

import base64
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MAX_INPUTS = 2048
MAX_TOKENS_PER_REQUEST = 300_000
MAX_TOKENS_PER_INPUT = 8192

#: Texts whose vectors are kept ready, some 8 kB each: a benchmark sends the same ones from many documents, and what it
#: measures is not this server.
READY_VECTORS = 4096


class Fault(StrEnum):
    """What the server does instead of answering well."""

    RATE_LIMITED = "rate_limited"  # 429 with Retry-After: `retry_after`
    NO_CREDIT = "no_credit"  # 429 insufficient_quota
    UNAUTHORIZED = "unauthorized"  # 401, quoting the key it was given
    FORBIDDEN = "forbidden"  # 403
    REJECTED = "rejected"  # 400
    NOT_FOUND = "not_found"  # 404: unknown model
    BROKEN = "broken"  # 500
    OVERLOADED = "overloaded"  # 503 with Retry-After: `retry_after`
    SILENT = "silent"  # reads the request and never answers
    DRIPPING = "dripping"  # the right answer, ten bytes a tenth of a second
    DRIPPING_HEADERS = "dripping_headers"  # the same, in the status line already
    CLOSED = "closed"  # closes the connection without a word
    CUT_SHORT = "cut_short"  # half the right answer, then closes
    WRONG_DIMENSIONS = "wrong_dimensions"  # one number too many in every vector
    ONE_MISSING = "one_missing"  # one vector too few
    ONE_TWICE = "one_twice"  # the first index twice
    SHUFFLED = "shuffled"  # the right answer in another order: not a fault for a careful client
    NOT_A_NUMBER = "not_a_number"  # NaN in the last vector
    ALL_ZERO = "all_zero"  # a vector without direction
    MALFORMED = "malformed"  # 200 and broken JSON
    NOT_JSON = "not_json"  # 200 and a page of HTML
    NO_DATA = "no_data"  # 200, JSON, but not the format
    NO_USAGE = "no_usage"  # the right answer without `usage`
    FLOATS_ONLY = "floats_only"  # ignores encoding_format, as many servers do


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server saw it; `tokens` is its own count, `at` is `time.monotonic()`."""

    body: dict[str, Any]
    inputs: int
    tokens: int
    at: float
    authorization: str

    @property
    def texts(self) -> list[str]:
        """Return the texts that were sent."""
        return _texts(self.body)


@dataclass
class EmbeddingsServer(AbstractContextManager["EmbeddingsServer"]):
    """Serves until the context ends. Settings may be changed at any time; `requests` grows by one a request."""

    dimensions: int = 1536
    seconds_per_request: float = 0.0
    seconds_per_token: float = 0.0
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._faults: deque[tuple[Fault, str]] = deque()
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.embeddings = self
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """Return what belongs in OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def misbehave(self, fault: Fault, *, times: int = 1, retry_after: str = "1") -> None:
        """Do so for the next `times` requests, after those already asked for."""
        with self._lock:
            self._faults.extend([(fault, retry_after)] * times)

    def behave(self) -> None:
        """Forget the faults that are still to come."""
        with self._lock:
            self._faults.clear()

    def note(self, request: Request) -> tuple[Fault | None, str]:
        """Record a request and return what to do about it."""
        with self._lock:
            self.requests.append(request)
            return self._faults.popleft() if self._faults else (None, "")

    def wait(self, seconds: float) -> None:
        """Sleep, but not past the end of the server."""
        self.stopping.wait(seconds)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="embeddings-server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()


def vector_of(text: str, dimensions: int) -> npt.NDArray[np.float32]:
    """Return the unit vector of a text: its hash, stretched by a generator that is the same everywhere."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def count_tokens(text: str) -> int:
    """Count as this server bills: a token for every four bytes."""
    return max(1, -(-len(text.encode()) // 4))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    embeddings: EmbeddingsServer


@dataclass
class _Refusal(Exception):
    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    def do_POST(self) -> None:
        server = self.server.embeddings
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = _texts(body)
        tokens = sum(map(count_tokens, texts))
        authorization = self.headers.get("Authorization", "")
        fault, retry_after = server.note(Request(body, len(texts), tokens, time.monotonic(), authorization))
        server.wait(server.seconds_per_request + server.seconds_per_token * tokens)
        try:
            _refuse(fault, retry_after, authorization)
            _check_limits(self.path, texts)
            self._answer(fault, _embeddings(body, texts, tokens, server.dimensions, fault))
        except _Refusal as refusal:
            error = {"message": refusal.message, "type": refusal.kind, "param": None, "code": refusal.code}
            self._send(refusal.status, json.dumps({"error": error}).encode(), refusal.headers)
        except OSError:
            self.close_connection = True  # the client has gone

    def _answer(self, fault: Fault | None, content: bytes) -> None:
        match fault:
            case Fault.SILENT:
                self.server.embeddings.wait(3600)
                self.close_connection = True
            case Fault.CLOSED:
                self.close_connection = True
            case Fault.MALFORMED:
                self._send(200, content[:-20] + b"]}{")
            case Fault.NOT_JSON:
                self._send(200, b"<html>Welcome to the proxy</html>", {"Content-Type": "text/html"})
            case Fault.NO_DATA:
                self._send(200, b'{"object": "list"}')
            case Fault.CUT_SHORT:
                self.wfile.write(self._head(200, len(content), {}) + content[: len(content) // 2])
                self.close_connection = True
            case Fault.DRIPPING:
                self.wfile.write(self._head(200, len(content), {}))
                self._drip(content)
            case Fault.DRIPPING_HEADERS:
                self._drip(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"." * 10_000)
            case _:
                self._send(200, content)

    def _drip(self, content: bytes) -> None:
        for start in range(0, len(content), 10):
            if self.server.embeddings.stopping.wait(0.1):
                break
            self.wfile.write(content[start : start + 10])
            self.wfile.flush()

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.wfile.write(self._head(status, len(content), headers or {}) + content)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> bytes:
        """Return status line and headers, for one packet with what follows them."""
        fields = {"Content-Type": "application/json", "Content-Length": str(length)} | headers
        lines = [f"{self.protocol_version} {status} {HTTPStatus(status).phrase}"]
        return "\r\n".join([*lines, *map(": ".join, fields.items()), "\r\n"]).encode()


def _texts(body: dict[str, Any]) -> list[str]:
    given: str | list[str] = body["input"]
    return [given] if isinstance(given, str) else given


def _refuse(fault: Fault | None, retry_after: str, authorization: str) -> None:
    """Raise the refusal that the fault asks for, in OpenAI's words."""
    asked = {"Retry-After": retry_after} if retry_after else {}
    match fault:
        case Fault.RATE_LIMITED:
            raise _Refusal(429, "Rate limit reached for requests", "requests", "rate_limit_exceeded", asked)
        case Fault.NO_CREDIT:
            raise _Refusal(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota")
        case Fault.UNAUTHORIZED:
            raise _Refusal(
                401, f"Incorrect API key provided: {authorization.removeprefix('Bearer ')}", code="invalid_api_key"
            )
        case Fault.FORBIDDEN:
            raise _Refusal(403, "Your project has no access to this model", code="model_not_allowed")
        case Fault.REJECTED:
            raise _Refusal(400, "This model's maximum context length is 8192 tokens")
        case Fault.NOT_FOUND:
            raise _Refusal(404, "The model does not exist", code="model_not_found")
        case Fault.BROKEN:
            raise _Refusal(500, "The server had an error", "server_error")
        case Fault.OVERLOADED:
            raise _Refusal(503, "The engine is overloaded", "server_error", headers=asked)


def _check_limits(path: str, texts: Sequence[str]) -> None:
    counts = [count_tokens(text) for text in texts]
    if path != "/v1/embeddings":
        raise _Refusal(404, f"Unknown request URL: POST {path}")
    if not texts or "" in texts:
        raise _Refusal(400, "'$.input' is invalid: it must not be empty or hold an empty string")
    if len(texts) > MAX_INPUTS:
        raise _Refusal(400, f"'$.input' is invalid: at most {MAX_INPUTS} inputs")
    if max(counts) > MAX_TOKENS_PER_INPUT:
        raise _Refusal(400, f"This model's maximum context length is {MAX_TOKENS_PER_INPUT} tokens")
    if sum(counts) > MAX_TOKENS_PER_REQUEST:
        raise _Refusal(400, f"Requested {sum(counts)} tokens, max {MAX_TOKENS_PER_REQUEST} tokens per request")


def _embeddings(body: dict[str, Any], texts: Sequence[str], tokens: int, dimensions: int, fault: Fault | None) -> bytes:
    """Write the answer, as right as the fault lets it be."""
    length = body.get("dimensions", dimensions) + (fault is Fault.WRONG_DIMENSIONS)
    as_base64 = body.get("encoding_format") == "base64" and fault is not Fault.FLOATS_ONLY
    vectors = [_ready_vector(text, length, as_base64) for text in texts]
    if fault is Fault.NOT_A_NUMBER:
        vectors[-1] = _written(np.full(length, np.nan), as_base64)
    if fault is Fault.ALL_ZERO:
        vectors[-1] = _written(np.zeros(length), as_base64)
    arranged = _arranged(list(enumerate(vectors)), fault)
    data = ",".join(f'{{"object":"embedding","index":{index},"embedding":{vector}}}' for index, vector in arranged)
    usage = "" if fault is Fault.NO_USAGE else f',"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return f'{{"object":"list","data":[{data}],"model":{json.dumps(body.get("model"))}{usage}}}'.encode()


@lru_cache(READY_VECTORS)
def _ready_vector(text: str, dimensions: int, as_base64: bool) -> str:
    return _written(vector_of(text, dimensions), as_base64)


def _written(vector: npt.NDArray[Any], as_base64: bool) -> str:
    """Return the vector as a value of JSON."""
    return f'"{base64.b64encode(vector.astype("<f4")).decode()}"' if as_base64 else json.dumps(vector.tolist())


def _arranged(vectors: list[tuple[int, str]], fault: Fault | None) -> list[tuple[int, str]]:
    match fault:
        case Fault.SHUFFLED:
            return vectors[::-1]
        case Fault.ONE_MISSING:
            return vectors[:-1]
        case Fault.ONE_TWICE:
            return [*vectors[:-1], (0, vectors[-1][1])]
        case _:
            return vectors
