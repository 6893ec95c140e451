"""One suite for every embedder, then what only a remote one can suffer."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from adapters.embeddings.local import LocalEmbedder
from adapters.embeddings.openai_compatible import KEY_WAIT, LONGEST_WAIT, OpenAIEmbedder
from adapters.embeddings.provider import make_embedder
from adapters.settings import Settings
from domain.errors import FailureCode, ParkedError, PermanentError, SettingsError, TransientError
from domain.ports import Embedder
from tests.embeddings_server import EmbeddingsServer, Fault, vector_of

KEY = "sk-test-0123456789abcdef"
TEXTS = ["the mill", "the water", "wheel und Straße", "水車 👩‍👩‍👧‍👦", " x "]


@pytest.fixture(scope="module")
def running_server() -> Iterator[EmbeddingsServer]:
    with EmbeddingsServer(dimensions=8) as server:
        yield server


@pytest.fixture
def server(running_server: EmbeddingsServer) -> EmbeddingsServer:
    running_server.behave()
    running_server.requests.clear()
    return running_server


@pytest.fixture
def remote(server: EmbeddingsServer) -> OpenAIEmbedder:
    return OpenAIEmbedder(model="fake", dimensions=8, api_key=KEY, base_url=server.url, timeout_seconds=10)


@pytest.fixture(params=["local", "openai"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return LocalEmbedder(64) if request.param == "local" else request.getfixturevalue("remote")


# What every embedder keeps


def test_one_unit_vector_a_text(embedder: Embedder) -> None:
    answer = embedder.embed(TEXTS)
    assert answer.vectors.shape == (len(TEXTS), embedder.dimensions)
    assert answer.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)


def test_vectors_stand_in_the_order_of_the_texts(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS).vectors
    alone = np.concatenate([embedder.embed([text]).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_tokens_are_counted(embedder: Embedder) -> None:
    assert 0 < embedder.embed(["mill"]).tokens < embedder.embed(["mill " * 100]).tokens


def test_no_texts_cost_nothing(embedder: Embedder) -> None:
    answer = embedder.embed([])
    assert answer.vectors.shape == (0, embedder.dimensions)
    assert answer.tokens == 0


def test_an_empty_text_is_rejected(embedder: Embedder) -> None:
    with pytest.raises(PermanentError, match="Text 2 of 2"):
        embedder.embed(["a", ""])


def test_limits_and_name_are_known_without_work(embedder: Embedder) -> None:
    assert embedder.limits.inputs_per_request > 0
    assert embedder.limits.tokens_per_request >= embedder.limits.tokens_per_input > 0
    assert "/" in embedder.model


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    expected = embedder.embed(TEXTS).vectors
    answers: list[bool] = []
    check = lambda: answers.append(np.allclose(embedder.embed(TEXTS).vectors, expected, atol=1e-6))  # noqa: E731
    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [True] * 8


# The local model


@pytest.mark.parametrize("dimensions", [64, 128, 256])
def test_shorter_local_vectors_are_the_beginning_of_longer_ones(dimensions: int) -> None:
    long, short = LocalEmbedder(256).embed(TEXTS).vectors, LocalEmbedder(dimensions).embed(TEXTS).vectors
    cut = long[:, :dimensions]
    np.testing.assert_allclose(short, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-5)


def test_the_local_model_knows_what_is_alike() -> None:
    cat, kitten, tax = LocalEmbedder().embed(["a small cat", "a little kitten", "quarterly tax return"]).vectors
    assert cat @ kitten > cat @ tax + 0.1


def test_local_vectors_are_those_of_the_wordllama_package() -> None:
    script = (
        "import pathlib, wordllama; "
        "m = wordllama.WordLlama.load(cache_dir=pathlib.Path(wordllama.__file__).parent, disable_download=True); "
        "print(*m.embed(['the mill'], norm=True)[0])"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    theirs = np.array(output.split(), dtype=np.float32)
    np.testing.assert_allclose(LocalEmbedder().embed(["the mill"]).vectors[0], theirs, atol=1e-6)


def test_the_local_model_opens_no_socket_and_leaves_the_root_logger_alone() -> None:
    script = (
        "import logging, socket, sys\n"
        "socket.socket.connect = None\n"
        "socket.getaddrinfo = None\n"
        "from adapters.embeddings.local import LocalEmbedder\n"
        "LocalEmbedder().embed(['the mill'])\n"
        "assert not logging.getLogger().handlers\n"
        "assert not {'wordllama', 'requests', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": "."})


def test_the_local_model_has_three_lengths() -> None:
    with pytest.raises(SettingsError, match="64, 128 or 256"):
        LocalEmbedder(100)


# The remote one: what it sends


def test_the_request_is_openais(remote: OpenAIEmbedder, server: EmbeddingsServer) -> None:
    remote.embed(["a", "b"])
    assert server.requests[0].body == {"model": "fake", "input": ["a", "b"], "encoding_format": "base64"}
    assert server.requests[0].authorization == f"Bearer {KEY}"


def test_dimensions_are_asked_only_of_a_model_that_can_shorten(server: EmbeddingsServer) -> None:
    def asked(model: str, dimensions: int) -> object:
        server.dimensions, before = dimensions, server.dimensions
        OpenAIEmbedder(model=model, dimensions=dimensions, api_key=KEY, base_url=server.url).embed(["a"])
        server.dimensions = before
        return server.requests[-1].body.get("dimensions")

    assert asked("text-embedding-3-small", 1536) is None
    assert asked("text-embedding-3-small", 256) == 256
    assert asked("bge-small-en", 384) is None


def test_vectors_and_usage_are_the_servers(remote: OpenAIEmbedder) -> None:
    answer = remote.embed(["water"])
    np.testing.assert_allclose(answer.vectors[0], vector_of("water", 8), atol=1e-6)
    assert answer.tokens == 2


# The remote one: what it forgives


@pytest.mark.parametrize("fault", [Fault.SHUFFLED, Fault.FLOATS_ONLY, Fault.NO_USAGE])
def test_an_unusual_answer_is_read(remote: OpenAIEmbedder, server: EmbeddingsServer, fault: Fault) -> None:
    server.misbehave(fault)
    answer = remote.embed(TEXTS)
    np.testing.assert_allclose(answer.vectors, [vector_of(text, 8) for text in TEXTS], atol=1e-6)
    assert answer.tokens > 0


# The remote one: what it reports


@pytest.mark.parametrize(
    "fault",
    [
        Fault.BROKEN, Fault.OVERLOADED, Fault.CLOSED, Fault.CUT_SHORT, Fault.ONE_MISSING, Fault.ONE_TWICE,
        Fault.NOT_A_NUMBER, Fault.ALL_ZERO, Fault.MALFORMED, Fault.NOT_JSON, Fault.NO_DATA,
    ],
)  # fmt: skip
def test_a_sick_server_is_tried_again(remote: OpenAIEmbedder, server: EmbeddingsServer, fault: Fault) -> None:
    server.misbehave(fault)
    with pytest.raises(TransientError) as caught:
        remote.embed(TEXTS)
    assert not isinstance(caught.value, ParkedError)
    assert caught.value.code is FailureCode.EMBEDDING_UNAVAILABLE
    assert len(server.requests) == 1, "repeating is the job's business"
    remote.embed(TEXTS)


@pytest.mark.parametrize("fault", [Fault.REJECTED, Fault.NOT_FOUND, Fault.WRONG_DIMENSIONS])
def test_what_cannot_work_is_permanent(remote: OpenAIEmbedder, server: EmbeddingsServer, fault: Fault) -> None:
    server.misbehave(fault)
    with pytest.raises(PermanentError) as caught:
        remote.embed(TEXTS)
    assert caught.value.code is FailureCode.EMBEDDING_REJECTED


def test_the_servers_words_reach_the_reader(remote: OpenAIEmbedder, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.REJECTED)
    with pytest.raises(PermanentError, match=r"\(400\): This model's maximum context length is 8192 tokens"):
        remote.embed(TEXTS)


def test_wrong_dimensions_name_the_setting(remote: OpenAIEmbedder, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.WRONG_DIMENSIONS)
    with pytest.raises(PermanentError, match="EMBEDDING_DIMENSIONS=9"):
        remote.embed(TEXTS)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7), ("0.5", 0.5), ("", 20), ("soon", 20), ("nan", 20), ("-5", 20), ("86400", 900), ("1e400", 20)],
)
def test_a_429_parks_the_job(remote: OpenAIEmbedder, server: EmbeddingsServer, asked: str, seconds: float) -> None:
    server.misbehave(Fault.RATE_LIMITED, retry_after=asked)
    with pytest.raises(ParkedError) as caught:
        remote.embed(TEXTS)
    assert caught.value.retry_after == timedelta(seconds=seconds)


def test_a_429_may_name_a_date(remote: OpenAIEmbedder, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.RATE_LIMITED, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=60), True))
    with pytest.raises(ParkedError) as caught:
        remote.embed(TEXTS)
    assert timedelta(seconds=55) < (caught.value.retry_after or timedelta()) <= timedelta(seconds=60)


def test_an_account_without_credit_parks_for_long(remote: OpenAIEmbedder, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.NO_CREDIT)
    with pytest.raises(ParkedError, match="no credit") as caught:
        remote.embed(TEXTS)
    assert caught.value.retry_after == LONGEST_WAIT


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.FORBIDDEN])
def test_a_refused_key_is_tried_again_later(remote: OpenAIEmbedder, server: EmbeddingsServer, fault: Fault) -> None:
    server.misbehave(fault)
    with pytest.raises(TransientError, match="OPENAI_API_KEY") as caught:
        remote.embed(TEXTS)
    assert caught.value.retry_after == KEY_WAIT


@pytest.mark.parametrize("key", [KEY, "a key of another kind"])
def test_the_key_is_in_no_error_and_no_log(
    key: str, server: EmbeddingsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    remote = OpenAIEmbedder(model="fake", dimensions=8, api_key=key, base_url=server.url)
    for fault in (Fault.UNAUTHORIZED, Fault.REJECTED, Fault.BROKEN, Fault.CLOSED):
        server.misbehave(fault)
        with pytest.raises((TransientError, PermanentError)) as caught:
            remote.embed(TEXTS)
        assert key not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    assert key not in caplog.text


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DRIPPING, Fault.DRIPPING_HEADERS])
def test_no_server_keeps_a_job_past_the_deadline(server: EmbeddingsServer, fault: Fault) -> None:
    remote = OpenAIEmbedder(model="fake", dimensions=8, api_key=KEY, base_url=server.url, timeout_seconds=1)
    remote.embed(["warm up"])
    server.misbehave(fault)
    started = time.monotonic()
    with pytest.raises(TransientError, match="in time"):
        remote.embed(["water"] * 100)
    assert 0.9 < time.monotonic() - started < 2.5


def test_a_server_that_is_not_there_is_tried_again() -> None:
    remote = OpenAIEmbedder(model="fake", dimensions=8, api_key=KEY, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        remote.embed(["a"])
    assert caught.value.__cause__ is not None


def test_a_forked_child_makes_its_own_connection(remote: OpenAIEmbedder) -> None:
    remote.embed(["a"])
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if remote.embed(["b"]).tokens == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


# Which one


def settings(**changed: object) -> Settings:
    given = {"database_url": "postgresql://h@localhost/h", "redis_url": "redis://localhost", **changed}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type,call-arg]


def test_the_default_is_local_and_needs_nothing() -> None:
    assert make_embedder(settings()).model == "local/wordllama-256"


def test_a_known_model_knows_its_length() -> None:
    chosen = make_embedder(settings(embedding_provider="openai", openai_api_key=KEY))
    assert (chosen.model, chosen.dimensions) == ("openai/text-embedding-3-small-1536", 1536)


def test_an_unknown_model_must_say_its_length() -> None:
    given = settings(embedding_provider="openai", openai_api_key=KEY, embedding_model="bge-m3")
    with pytest.raises(SettingsError, match="EMBEDDING_DIMENSIONS is missing"):
        make_embedder(given)
