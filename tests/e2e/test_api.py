"""The API as its own process, with real workers behind it and rude clients in front of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api import a_key
from tests.builders import WORKSPACE, a_pdf
from tests.e2e.conftest import IMPATIENT, Site
from tests.embeddings_server import EmbeddingsServer
from tests.workers import ROOT, Workers, running_workers

MEGABYTE = 1024 * 1024
ENDS = ("completed", "failed", "cancelled")


@contextmanager
def running_api(site: Site, port: int, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m adapters.api` until the block ends."""
    environment = {**site.environment, "API_PORT": str(port), "PYTHONPATH": str(ROOT), **more}
    log = (site.folder / "api.log").open("ab")
    with log, subprocess.Popen(
        [sys.executable, "-m", "adapters.api"], env=environment, cwd=site.folder, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            site.wait_until(lambda: _answers(port) or process.poll() is not None, 20)
            assert process.poll() is None, (site.folder / "api.log").read_text()
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(25)
            process.kill()


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=1).status_code == 200
    return False


def a_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddingsServer]:
    with EmbeddingsServer(dimensions=16) as server:
        yield server


@pytest.fixture(scope="module")
def settings(server: EmbeddingsServer) -> dict[str, str]:
    return {
        "EMBEDDING_PROVIDER": "openai",
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": "sk-test",
        "EMBEDDING_MODEL": "fake",
        "EMBEDDING_DIMENSIONS": "16",
        "EMBEDDING_INPUTS_PER_REQUEST": "8",
        "CHUNK_TOKENS": "64",
        "CHUNK_OVERLAP_TOKENS": "0",
        "API_REQUESTS_PER_SECOND": "10000",
        "API_REQUESTS_BURST": "10000",
    }


@pytest.fixture(scope="module")
def port(module_site: Site, settings: dict[str, str]) -> Iterator[int]:
    port = a_port()
    with running_api(module_site, port, **settings) as process:
        module_site.environment["TEST_API_PID"] = str(process.pid)
        yield port


@pytest.fixture(scope="module")
def workers(module_site: Site, settings: dict[str, str]) -> Iterator[Workers]:
    with running_workers(module_site.environment | IMPATIENT | settings) as workers:
        yield workers


@pytest.fixture
def client(site: Site, port: int) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {a_key(site.rails)}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        yield client


def upload(client: httpx.Client, content: bytes, name: str = "river.pdf") -> dict[str, Any]:
    answer = client.post("/documents", files={"file": (name, content, "application/pdf")})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def follow(client: httpx.Client, task_id: str, seconds: float = 40) -> list[dict[str, Any]]:
    """Look at a task until it ends; return every look."""
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while not seen or seen[-1]["status"] not in ENDS:
        assert time.monotonic() < deadline, seen[-3:]
        seen.append(client.get(f"/tasks/{task_id}/status").json())
    return seen


def a_report(title: str, *, pages: int = 40) -> bytes:
    return a_pdf(
        *("\n".join(f"{title} {page}.{line}: the river turns wheel {page * 50 + line}." for line in range(20))
          for page in range(pages))
    )  # fmt: skip


def test_an_upload_is_followed_to_its_end_and_found(
    site: Site, client: httpx.Client, workers: Workers, server: EmbeddingsServer
) -> None:
    receipt = upload(client, a_report("Follow"))

    seen = follow(client, receipt["task_id"])

    assert seen[-1] == {"id": receipt["task_id"], "status": "completed", "progress": 100, "stage": "index_document"}
    progress = [each["progress"] for each in seen]
    assert progress == sorted(progress)
    assert [each for each in progress if 0 < each < 100]
    hits = client.post("/search", json={"query": "Follow 7.3", "limit": 3}).json()["hits"]
    assert {hit["document_id"] for hit in hits} == {receipt["document_id"]}
    for hit in hits:
        page = client.get(f"/documents/{hit['document_id']}/pages/{hit['page_from']}").json()["text"]
        if hit["page_from"] == hit["page_to"]:
            assert page[hit["char_start"] : hit["char_end"]] == hit["text"]


def test_a_waiting_request_is_answered_by_the_end(client: httpx.Client, workers: Workers) -> None:
    receipt = upload(client, a_report("Wait", pages=3))

    answer = client.get(f"/tasks/{receipt['task_id']}?wait=25").json()

    assert answer["status"] == "completed"
    assert answer["result"]["page_count"] == 3


def test_a_running_task_is_cancelled_and_never_completes(
    site: Site, client: httpx.Client, workers: Workers, server: EmbeddingsServer
) -> None:
    server.seconds_per_request = 1.0
    try:
        receipt = upload(client, a_report("Cancel"))
        site.wait_until(lambda: client.get(f"/tasks/{receipt['task_id']}").json()["stage"] == "index_document", 20)
        site.wait_until(lambda: client.get(f"/tasks/{receipt['task_id']}").json()["progress"] > 50, 20)

        answer = client.post(f"/tasks/{receipt['task_id']}/cancel")
        assert answer.status_code == 202, answer.text
        seen = follow(client, receipt["task_id"])
    finally:
        server.seconds_per_request = 0

    assert seen[-1]["status"] == "cancelled"
    assert "completed" not in {each["status"] for each in seen}
    assert client.delete(f"/tasks/{receipt['task_id']}").status_code == 200
    shown = client.get(f"/documents/{receipt['document_id']}").json()
    assert (shown["state"], shown["failure"]["code"]) == ("failed", "cancelled")


def test_tasks_cancelled_at_any_moment_end_as_cancelled_or_had_completed(
    site: Site, client: httpx.Client, workers: Workers
) -> None:
    for number in range(12):
        receipt = upload(client, a_report(f"Moment {number}", pages=4))
        time.sleep(number * 0.02)
        answer = client.delete(f"/tasks/{receipt['task_id']}")
        end = follow(client, receipt["task_id"])[-1]["status"]

        assert (answer.status_code, end) in {(200, "cancelled"), (202, "cancelled"), (409, "completed")}
    site.wait_for_jobs()


def test_a_cancelled_task_runs_again_on_request(client: httpx.Client, workers: Workers) -> None:
    receipt = upload(client, a_report("Again", pages=3))
    if client.delete(f"/tasks/{receipt['task_id']}").status_code == 409:
        pytest.skip("it was too fast to be cancelled")
    follow(client, receipt["task_id"])

    retried = client.post(f"/tasks/{receipt['task_id']}/retry").json()["task_id"]

    assert follow(client, retried)[-1]["status"] == "completed"


def test_ten_megabytes_are_accepted(client: httpx.Client) -> None:
    """How soon, `python -m benchmarks.uploads` tells."""
    receipt = upload(client, b"%PDF-1.7\n" + os.urandom(10 * MEGABYTE))

    assert client.get(f"/documents/{receipt['document_id']}").json()["byte_count"] == 10 * MEGABYTE + 9


# Rude clients


class Rude:
    """A client that speaks HTTP by hand."""

    def __init__(self, site: Site, port: int) -> None:
        self._head = f"Host: x\r\nAuthorization: Bearer {a_key(site.rails)}\r\n"
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)

    def begin(self, headers: str, body: bytes = b"") -> None:
        self.socket.sendall(f"POST /documents HTTP/1.1\r\n{self._head}{headers}\r\n".encode() + body)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Read one answer; (0, {}) when the server just closed."""
        received = b""
        while b"\r\n\r\n" not in received and (part := self.socket.recv(65536)):
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        if not head:
            return 0, {}
        length = next(
            int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += self.socket.recv(65536)
        return int(head.split()[1]), json.loads(body[:length])


FORM = "Content-Type: multipart/form-data; boundary=BB\r\n"
PART = b'--BB\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-1.7 '


@pytest.fixture
def rude(site: Site, port: int) -> Iterator[Rude]:
    client = Rude(site, port)
    yield client
    client.socket.close()


def blobs(site: Site) -> int:
    return sum(file.is_file() for file in (site.folder / "blobs").rglob("*"))


def memory(site: Site) -> int:
    """Return the resident bytes of the API process."""
    status = Path(f"/proc/{site.environment['TEST_API_PID']}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def test_ten_gigabytes_are_refused_when_they_are_announced(site: Site, rude: Rude) -> None:
    rude.begin(f"{FORM}Content-Length: {10 * 1024**3}\r\n", PART)

    status, problem = rude.answer()

    assert (status, problem["code"]) == (413, "too_large")


def test_endless_bodies_end_at_the_limit(site: Site, port: int) -> None:
    """Chunked, so that nothing is announced; some 200 MB go through, and memory does not grow with them."""
    before, stored = memory(site), blobs(site)
    rude = Rude(site, port)
    rude.begin(f"{FORM}Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n" % (len(PART), PART))
    chunk = b"%x\r\n%s\r\n" % (MEGABYTE, b"x" * MEGABYTE)
    most = 0
    with suppress(ConnectionError):
        for _ in range(300):
            rude.socket.sendall(chunk)
            most = max(most, memory(site))
    with suppress(ConnectionError):
        status, problem = rude.answer()
        assert (status, problem["code"]) == (413, "too_large")
    rude.socket.close()

    assert most - before < 100 * MEGABYTE
    site.wait_until(lambda: blobs(site) == stored, 10)


@pytest.mark.parametrize("how", ["cut off", "closed", "reset"])
def test_an_upload_that_breaks_off_leaves_nothing(site: Site, port: int, how: str) -> None:
    documents, stored = site.rails.count("documents"), blobs(site)
    rude = Rude(site, port)
    body = PART + b"x" * MEGABYTE
    rude.begin(f"{FORM}Content-Length: {len(body) if how == 'cut off' else len(body) + 1000}\r\n", body)

    if how == "cut off":
        assert rude.answer()[1]["code"] == "incomplete_body"
    elif how == "reset":
        rude.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    rude.socket.close()

    time.sleep(0.3)
    site.wait_until(lambda: blobs(site) == stored, 10)
    assert site.rails.count("documents") == documents


def test_slow_uploads_are_ended_and_keep_nobody_waiting(site: Site, settings: dict[str, str]) -> None:
    port, stored = a_port(), blobs(site)
    with running_api(site, port, **settings | {"API_UPLOAD_SECONDS": "2", "API_MOST_UPLOADS": "3", "API_THREADS": "2"}):
        slow = [Rude(site, port) for _ in range(3)]
        for each in slow:
            each.begin(f"{FORM}Content-Length: 100000\r\n", PART)
        headers = {"Authorization": f"Bearer {a_key(site.rails)}"}
        site.wait_until(
            lambda: httpx.post(f"http://127.0.0.1:{port}/documents", headers=headers,
                               files={"file": ("a.pdf", b"%PDF-1.7 one more")}).status_code == 503, 5)  # fmt: skip
        assert httpx.get(f"http://127.0.0.1:{port}/documents", headers=headers, timeout=2).status_code == 200
        answers = [each.answer() for each in slow]

    assert [(status, problem["code"]) for status, problem in answers] == [(408, "request_timeout")] * 3
    assert blobs(site) <= stored + 1


# Stopping


def test_a_shutdown_answers_what_runs_and_ends_in_time(site: Site, settings: dict[str, str]) -> None:
    port = a_port()
    with running_api(site, port, **settings) as process:
        headers = {"Authorization": f"Bearer {a_key(site.rails)}"}
        assert httpx.get(f"http://127.0.0.1:{port}/documents", headers=headers).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_stops_the_start_with_a_sentence(site: Site, port: int) -> None:
    environment = {**site.environment, "API_PORT": str(port), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "adapters.api"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 78
    assert "API_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_has_a_line_a_request_and_no_key(site: Site, client: httpx.Client) -> None:
    client.get("/documents", headers={"X-Request-ID": "find-me-in-the-log"})
    log = site.folder / "api.log"

    site.wait_until(lambda: "find-me-in-the-log" in log.read_text(), 5)
    assert client.headers["Authorization"].removeprefix("Bearer ") not in log.read_text()
    assert "hr_" not in log.read_text()


def test_the_workspace_is_the_keys(site: Site, client: httpx.Client) -> None:
    receipt = upload(client, b"%PDF-1.7 mine")

    assert site.rails.document(UUID(receipt["document_id"]))["workspace_id"] == WORKSPACE
