"""What the exporter answers, over HTTP, in this process."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.cli.checks import check_metrics_port
from adapters.exporter.folder import LOCK, exporter_lock, is_locked, open_folder
from adapters.exporter.keeping import keep_exporter
from adapters.exporter.server import open_server, render_metrics
from adapters.settings import Settings
from tests.builders import Rails, a_failed_document, a_pending_job, a_queued_job, a_running_job

TOKEN = "a-long-random-string"
NOWHERE = {"database_url": "postgresql://x@127.0.0.1:9/x", "redis_url": "redis://127.0.0.1:9/0"}


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **{"metrics_port": 0, **given})  # type: ignore[arg-type,call-arg]


class Exporter:
    """A served exporter; `get` returns status and body."""

    def __init__(self, given: Settings, folder: Path) -> None:
        self.folder = folder
        self._server = open_server(given, folder)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator:
    opened: list[Exporter] = []

    def start(**given: object) -> Exporter:
        opened.append(Exporter(settings(**given), tmp_path))
        return opened[-1]

    yield start
    for exporter in opened:
        exporter.close()


def test_an_ipv6_address_is_served(tmp_path: Path) -> None:
    try:
        server = open_server(settings(metrics_host="::1", **NOWHERE), tmp_path)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            pytest.skip("this machine has no IPv6")
        raise
    server.server_close()


# Who may read


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ä"]
)
def test_metrics_without_the_token_are_forbidden(serve, sent: str) -> None:
    exporter = serve(metrics_require_auth=True, metrics_token=TOKEN, **NOWHERE)

    status, body = exporter.get("/metrics", **({"Authorization": sent} if sent else {}))

    assert status == 403
    assert "headrace_" not in body
    assert TOKEN not in body


def test_metrics_with_the_token_are_served(serve) -> None:
    exporter = serve(metrics_require_auth=True, metrics_token=TOKEN, **NOWHERE)

    assert exporter.get("/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_tokens_are_compared_in_constant_time(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    exporter = serve(metrics_require_auth=True, metrics_token=TOKEN, **NOWHERE)

    exporter.get("/metrics", Authorization="Bearer wrong")

    assert compared == [(b"Bearer wrong", f"Bearer {TOKEN}".encode())]


def test_probes_need_no_token(serve) -> None:
    exporter = serve(metrics_require_auth=True, metrics_token=TOKEN, **NOWHERE)

    assert exporter.get("/healthz")[0] == 200


def test_another_page_is_not_there(serve) -> None:
    assert serve(**NOWHERE).get("/secrets")[0] == 404


# Readiness


def test_ready_when_both_answer(serve, database_url: str, redis_url: str) -> None:
    status, body = serve(database_url=database_url, redis_url=redis_url).get("/readyz")

    assert (status, json.loads(body)) == (200, {"status": "ready", "db": "ok", "redis": "ok"})


@pytest.mark.parametrize("missing", ["db", "redis"])
def test_readiness_names_what_is_down(serve, database_url: str, redis_url: str, missing: str) -> None:
    urls = {"database_url": database_url, "redis_url": redis_url}
    broken = "database_url" if missing == "db" else "redis_url"

    status, body = serve(**urls | {broken: NOWHERE[broken]}).get("/readyz")

    payload = json.loads(body)
    assert status == 503
    assert "unreachable" in payload[missing]
    assert payload["redis" if missing == "db" else "db"] == "ok"


def test_an_older_schema_is_not_ready(serve, empty_database_url: str, redis_url: str) -> None:
    status, body = serve(database_url=empty_database_url, redis_url=redis_url).get("/readyz")

    assert status == 503
    assert "headrace migrate" in json.loads(body)["db"]


def test_no_answer_tells_a_password(serve) -> None:
    exporter = serve(database_url="postgresql://x:hush@127.0.0.1:9/x", redis_url="redis://:hush@127.0.0.1:9/0")

    assert "hush" not in exporter.get("/readyz")[1] + exporter.get("/metrics")[1]


# Liveness


def beacon(folder: Path, pid: int, *, age: float = 0) -> None:
    path = folder / f"alive-{pid}"
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))


def test_alive_without_database_and_redis(serve) -> None:
    exporter = serve(**NOWHERE)
    beacon(exporter.folder, os.getpid())

    status, body = exporter.get("/healthz")

    assert (status, json.loads(body)) == (200, {"status": "alive", "workers": 1, "stuck": []})


def test_a_worker_without_progress_turns_liveness_red(serve) -> None:
    exporter = serve(**NOWHERE)
    beacon(exporter.folder, os.getpid(), age=60)

    status, body = exporter.get("/healthz")

    assert (status, json.loads(body)["stuck"]) == (503, [os.getpid()])


def test_a_dead_workers_beacon_does_not_count(serve) -> None:
    exporter = serve(**NOWHERE)
    child = subprocess.Popen(["true"])
    child.wait()
    beacon(exporter.folder, child.pid, age=60)

    assert json.loads(exporter.get("/healthz")[1]) == {"status": "alive", "workers": 0, "stuck": []}


# What `headrace doctor` says of it


def test_doctor_sees_a_stuck_worker_behind_the_exporter(serve) -> None:
    exporter = serve(**NOWHERE)
    beacon(exporter.folder, os.getpid(), age=60)

    (finding,) = check_metrics_port(settings(**NOWHERE, metrics_port=exporter.port))

    assert (finding.verdict, "no progress" in finding.detail) == ("fail", True)


def test_doctor_asks_the_exporter_past_any_proxy(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    exporter = serve(**NOWHERE)
    beacon(exporter.folder, os.getpid())

    (finding,) = check_metrics_port(settings(**NOWHERE, metrics_port=exporter.port))

    assert (finding.verdict, finding.detail) == ("ok", f"an exporter listens on 127.0.0.1:{exporter.port}")


def test_doctor_tells_a_host_that_is_not_ours_from_a_port_that_is_taken() -> None:
    (finding,) = check_metrics_port(settings(**NOWHERE, metrics_host="192.0.2.1", metrics_port=9191))

    assert "nobody can listen on 192.0.2.1:9191" in finding.detail
    assert "METRICS_HOST" in finding.advice


# Metrics


def test_queues_and_documents_come_from_the_database(rails: Rails, tmp_path: Path) -> None:
    a_pending_job(rails)
    a_running_job(rails)
    a_failed_document(rails)
    a_queued_job(rails)

    text = render_metrics(settings(database_url=rails.url, redis_url=NOWHERE["redis_url"]), tmp_path).decode()

    assert "headrace_database_up 1.0" in text
    assert 'headrace_queue_depth{queue="test",state="running"} 1.0' in text
    assert 'headrace_documents{state="failed"} 1.0' in text
    assert "headrace_relay_lag_seconds" in text
    assert 'headrace_queue_oldest_age_seconds{queue="test"}' in text


def test_metrics_are_served_without_a_database(tmp_path: Path) -> None:
    text = render_metrics(settings(**NOWHERE), tmp_path).decode()

    assert "headrace_database_up 0.0" in text
    assert "headrace_build_info" in text


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_accepts_the_gauges(rails: Rails, tmp_path: Path) -> None:
    a_pending_job(rails)
    a_failed_document(rails)
    text = render_metrics(settings(database_url=rails.url, redis_url=NOWHERE["redis_url"]), tmp_path)

    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


# The folder that workers and exporter share


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_folders_of_dead_masters_are_removed(temporary: Path) -> None:
    mine = open_folder(os.getpid())
    dead = mine.parent / "1-0"
    dead.mkdir()

    assert open_folder(os.getpid()) == mine
    assert (mine.is_dir(), dead.exists()) == (True, False)
    assert mine.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["a link", "open to all"])
def test_a_folder_of_our_name_that_others_made_is_left_alone(temporary: Path, planted: str) -> None:
    elsewhere = temporary / "elsewhere"
    (elsewhere / "2024-photos").mkdir(parents=True)
    name = temporary / f"headrace-{os.getuid()}"
    if planted == "a link":
        name.symlink_to(elsewhere)
    else:
        elsewhere.rename(name)
        name.chmod(0o777)

    mine = open_folder(os.getpid())

    assert (name / "2024-photos").is_dir()
    assert mine.parent == temporary / f"headrace-{os.getuid()}-1"


# One exporter


def test_one_exporter_a_folder(tmp_path: Path) -> None:
    with exporter_lock(tmp_path) as is_mine:
        assert is_mine
        assert is_locked(tmp_path)

    assert not is_locked(tmp_path)


def test_an_exporter_that_cannot_start_is_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / LOCK).mkdir()  # stands for a disk that has no room for the file

    with keep_exporter(tmp_path, is_wanted=True):
        (keeper,) = (thread for thread in threading.enumerate() if thread.name == "exporter-keeper")
        said = ""
        while keeper.is_alive() and "Tried again in 30 s" not in said:
            time.sleep(0.02)
            said += capfd.readouterr().err
        assert keeper.is_alive()


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no posix_fallocate")
def test_files_of_metrics_have_their_room_before_the_disk_is_full(tmp_path: Path) -> None:
    holes = tmp_path / "counter_1.db"
    holes.touch()
    os.truncate(holes, 65_536)

    with keep_exporter(tmp_path, is_wanted=False):
        assert holes.stat().st_blocks * 512 >= 65_536
