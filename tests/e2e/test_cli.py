"""The command line as people and scripts use it: real processes, real servers, one `headrace up` for all tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import a_pdf
from tests.conftest import short_folder

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "adapters.cli.main"]
NOBODY = "00000000-0000-4000-8000-0000000000ff"
OURS = {"DATABASE_URL", "REDIS_URL", "BLOB_URL", "NO_COLOR", "FORCE_COLOR", "METRICS_PORT", "API_PORT"}


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return kept | {"PYTHONPATH": str(ROOT), "METRICS_PORT": "0", "API_PORT": "0", "COLUMNS": "100"} | more


def run(*arguments: str, stdin: bytes = b"", seconds: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=environment(**more), timeout=seconds, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def processes_about(text: str) -> list[str]:
    """Return the command lines of live processes that name something."""
    listing = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if text in line and "ps -ww" not in line]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def wait_until_gone(text: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while left := processes_about(text):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@dataclass(frozen=True)
class Up:
    """A running `headrace up` and commands in a second terminal."""

    folder: Path
    process: subprocess.Popen[str]
    where: dict[str, Any]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "--data-dir", str(self.folder), **options)

    def json(self, *arguments: str, **options: Any) -> Any:
        done = self.run(*arguments, "--json", **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ingest(self, file: Path) -> str:
        return str(self.json("ingest", str(file), "--wait")["document_id"])


@contextmanager
def running_up(folder: Path, *options: str, **more: str) -> Iterator[Up]:
    command = [*COMMAND, "up", "--json", "--data-dir", str(folder), "--processes", "1", *options]
    log = (folder / "up.log").open("w")
    with (
        log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**more)) as process,
    ):
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, (folder / "up.log").read_text()
            yield Up(folder, process, json.loads(line))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(40)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with short_folder() as folder, running_up(folder) as it:
        yield it


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    file = tmp_path / "mill [1].pdf"
    file.write_bytes(a_pdf("The wallower drives the great spur wheel.", f"Written for {tmp_path.name}."))
    return file


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder for a command, to look into afterwards."""
    with short_folder() as folder:
        yield folder


# Without any installation


def test_help_is_complete_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['headrace', '--help']\n"
        "from adapters.cli.main import main\n"
        "try: main()\n"
        "finally: print([name for name in ('pymupdf', 'openai', 'psycopg', 'numpy', 'pydantic', 'dramatiq')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())

    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[]"
    for command in (
        "up",
        "demo",
        "migrate",
        "ingest",
        "status",
        "search",
        "doctor",
        "worker",
        "schedule",
        "delete",
        "api",
        "keys",
        "workspaces",
    ):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE), done.stdout


def test_without_its_packages_the_command_says_what_to_install() -> None:
    code = (
        "import sys; from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *a: None if name in ('typer', 'rich') else find(name, *a)\n"
        "from adapters.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())

    assert done.returncode == 1
    assert done.stderr == "The command line needs typer and rich: pip install 'headrace[cli]'\n"


@pytest.mark.parametrize("command", [["status"], ["search", "mill"], ["ingest", "x.pdf"], ["migrate"], ["worker"]])
def test_without_servers_a_command_says_how_to_get_them(command: Sequence[str], tmp_path: Path) -> None:
    done = run(*command, "--data-dir", str(tmp_path))

    assert done.returncode == 78
    assert "headrace up" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = run("status", DATABASE_URL="mysql://x:hunter2@y", REDIS_URL="redis://localhost")

    assert done.returncode == 78
    assert "DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_database_that_does_not_answer_is_one_sentence_and_no_password() -> None:
    done = run("status", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x", REDIS_URL="redis://localhost")

    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "headrace doctor" in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_a_named_database_that_does_not_answer_stops_the_start(command: str) -> None:
    with short_folder() as folder:
        address = "postgresql://u:hunter2@127.0.0.1:1/x"
        done = run(command, "--data-dir", str(folder), DATABASE_URL=address, REDIS_URL="redis://localhost")

    assert done.returncode == 1
    assert "the PostgreSQL that DATABASE_URL names does not answer" in done.stderr.replace("The P", "the P")
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_doctor_finds_what_is_down(tmp_path: Path) -> None:
    done = run(
        "doctor",
        "--json",
        DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x",
        REDIS_URL="redis://127.0.0.1:1/0",
        BLOB_URL=f"file://{tmp_path}",
    )
    verdicts = {finding["name"]: finding["verdict"] for finding in json.loads(done.stdout)}

    assert done.returncode == 1
    assert {verdicts["postgres"], verdicts["redis"]} == {"fail"}
    assert {verdicts["blobs"], verdicts["embeddings"], verdicts["parser"]} == {"ok"}
    assert "hunter2" not in done.stdout + done.stderr


def test_a_data_folder_that_cannot_be_one_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = run("up", "--data-dir", str(tmp_path / "file"))

    assert done.returncode == 1
    assert f"{tmp_path}/file cannot be a data folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, form: list[str]) -> None:
    command = [*COMMAND, "doctor", *form, "--data-dir", str(tmp_path)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)

    assert done.returncode == 1
    assert done.stderr == "No space left on device. Make room and try again.\n"


def test_an_unknown_option_is_wrong_usage() -> None:
    assert run("status", "--nonsense").returncode == 2


# With a running `up`


def test_up_tells_where_everything_is(up: Up) -> None:
    assert up.where["database"].startswith("postgresql://")
    assert up.where["data_folder"] == str(up.folder)
    assert set(up.where["versions"]) == {"postgres", "valkey"}
    assert (up.folder / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_second_up_in_the_same_folder_is_refused(up: Up) -> None:
    done = run("up", "--data-dir", str(up.folder))

    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_has_nothing_to_say(up: Up) -> None:
    wait_until(lambda: bool(up.json("status")["workers"]))
    findings = up.json("doctor")

    assert [finding for finding in findings if finding["verdict"] != "ok"] == []
    assert {"postgres", "pgvector", "schema", "vector index", "workers", "redis", "blobs", "embeddings", "parser"} <= {
        finding["name"] for finding in findings
    }


def test_a_document_is_ingested_found_shown_rebuilt_and_deleted(up: Up, pdf: Path) -> None:
    receipt = up.json("ingest", str(pdf), "--wait")
    assert (receipt["state"], receipt["pages"], receipt["is_new"]) == ("ready", 2, True)
    document_id = receipt["document_id"]

    hit = up.json("search", "wallower", "--limit", "1")[0]
    assert (hit["document_name"], hit["page_from"]) == ("mill [1].pdf", 1)

    shown = up.json("status", document_id)
    assert shown["document"]["state"] == "ready"
    assert [(each["actor"], each["outcome"]) for each in shown["attempts"]] == [("extract_document", "succeeded")]
    assert up.json("status", shown["jobs"][0]["id"])["job"]["state"] == "succeeded"

    assert up.json("ingest", str(pdf), "--wait")["is_new"] is False
    assert up.json("reindex", document_id)["job_id"]
    assert up.json("ingest", str(pdf), "--wait")["state"] == "ready"

    assert up.json("delete", document_id)["deleted"]
    assert up.run("delete", document_id).returncode == 1


def test_tables_show_names_as_they_are(up: Up, pdf: Path) -> None:
    document_id = up.ingest(pdf)

    for command in (("status",), ("status", document_id), ("search", "wallower"), ("ingest", str(pdf))):
        done = up.run(*command)
        assert done.returncode == 0, done.stderr
        assert "mill [1].pdf" in done.stdout


def test_every_bad_file_is_reported_and_the_good_one_goes_on(up: Up, pdf: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.pdf").write_text("not a PDF")
    (tmp_path / "empty").mkdir()
    names = [pdf, tmp_path / "notes.pdf", tmp_path / "missing.pdf", tmp_path / "empty"]

    done = up.run("ingest", *map(str, names), "--wait", "--json")
    results = {Path(line["file"]).name: line for line in map(json.loads, done.stdout.splitlines())}

    assert done.returncode == 1
    assert {name: result["state"] for name, result in results.items()} == {
        "mill [1].pdf": "ready",
        "notes.pdf": "failed",
        "missing.pdf": "failed",
    }
    assert results["notes.pdf"]["code"] == "not_a_pdf"
    assert results["missing.pdf"]["code"] == "no_file"
    assert "There is no PDF in" in done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="its disks take no such name")
def test_a_file_whose_name_is_no_text_is_taken(up: Up, pdf: Path) -> None:
    odd = pdf.rename(os.fsdecode(os.fsencode(pdf.parent) + b"/m\xfchle.pdf"))

    receipt = up.json("ingest", os.fsdecode(os.fsencode(odd)), "--wait", LC_ALL="en_US.UTF-8")

    assert (receipt["state"], Path(receipt["file"]).name) == ("ready", "m\ufffdhle.pdf")
    assert up.json("status", receipt["document_id"])["document"]["name"] == "m\ufffdhle.pdf"


def test_a_document_that_fails_later_says_why(up: Up, tmp_path: Path) -> None:
    (tmp_path / "blank.pdf").write_bytes(a_pdf(""))

    done = up.run("ingest", str(tmp_path / "blank.pdf"), "--wait", "--json")
    result = json.loads(done.stdout)

    assert done.returncode == 1
    assert result["code"] == "pdf_no_text"
    assert "OCR" in result["message"]
    assert "pdf_no_text" in up.run("status", result["document_id"]).stdout


def test_a_folder_is_searched_for_pdfs(up: Up, pdf: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.PDF").write_bytes(a_pdf("Another mill."))
    (tmp_path / "deep" / "notes.txt").write_text("no")

    done = up.run("ingest", str(tmp_path), "--json")

    assert sorted(Path(json.loads(line)["file"]).name for line in done.stdout.splitlines()) == ["b.PDF", pdf.name]


def test_a_pdf_comes_through_a_pipe(up: Up) -> None:
    assert up.json("ingest", "-", "--wait", stdin=a_pdf("A mill in a pipe."))["state"] == "ready"


@pytest.mark.parametrize("command", ["status", "reindex", "delete"])
def test_an_unknown_id_is_one_sentence(up: Up, command: str) -> None:
    done = up.run(command, NOBODY)

    assert done.returncode == 1
    assert NOBODY in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("status", "abc"),
        ("search", " "),
        ("search", "mill", "--workspace", "nix"),
        ("delete", "1"),
        ("mail", "suppress", "nobody"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(up: Up, command: tuple[str, ...]) -> None:
    done = up.run(*command)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_recipients_that_are_not_utf_8_are_wrong_usage(up: Up, tmp_path: Path) -> None:
    (tmp_path / "readers.csv").write_bytes("address,name\nasa@example.com,Åsa\n".encode("latin-1"))

    done = up.run("mail", "bulk", str(tmp_path / "readers.csv"), "--subject", "x", "--text-file", __file__)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "readers.csv" in done.stderr


def test_nothing_to_do_is_said(up: Up) -> None:
    assert up.json("migrate") == {"applied": []}
    assert up.run("migrate").stdout == "The database is up to date.\n"


def test_a_reader_that_leaves_early_is_no_error(up: Up, pdf: Path) -> None:
    up.ingest(pdf)
    command = [*COMMAND, "search", "mill", "--json", "--data-dir", str(up.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("variable", "is_coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True)])
def test_no_color_is_respected(up: Up, pdf: Path, variable: str, is_coloured: bool) -> None:
    up.ingest(pdf)

    assert ("\x1b[" in up.run("status", **{variable: "1"}).stdout) is is_coloured


def test_a_real_server_is_used_when_it_is_named(up: Up, tmp_path: Path) -> None:
    done = run(
        "status", "--json", "--data-dir", str(tmp_path), DATABASE_URL=up.where["database"], REDIS_URL=up.where["redis"]
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workers"] is True


# The HTTP API


def test_a_key_is_made_listed_and_revoked(up: Up) -> None:
    made = up.json("keys", "create", "billing", "--scope", "search", "--expires", "90d")
    assert made["key"].startswith(made["prefix"])
    assert (made["scopes"], made["state"]) == (["search"], "works")

    listed = up.run("keys", "list").stdout
    assert made["prefix"] in listed
    assert made["key"] not in listed

    assert up.json("keys", "revoke", made["prefix"])["state"] == "revoked"
    assert up.run("keys", "revoke", made["prefix"]).returncode == 2
    assert [key["state"] for key in up.json("keys", "list") if key["id"] == made["id"]] == ["revoked"]


def test_the_text_of_a_key_goes_to_standard_output_alone(up: Up) -> None:
    done = up.run("keys", "create", "script")

    assert re.fullmatch(r"hr_[A-Za-z0-9]{49}\n", done.stdout)
    assert "shown this once" in done.stderr


@pytest.mark.parametrize("arguments", [("--scope", "documents:eat"), ("--expires", "soon"), ("--workspace", "nix")])
def test_a_wrong_key_is_not_made(up: Up, arguments: tuple[str, str]) -> None:
    done = up.run("keys", "create", "wrong", *arguments)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_workspace_is_added_once(up: Up) -> None:
    added = up.json("workspaces", "create", "acme", "--daily-tokens", "1000")

    assert (added["name"], added["daily_token_budget"]) == ("acme", 1000)
    assert up.run("workspaces", "create", "acme").returncode == 2
    assert {row["name"] for row in up.json("workspaces", "list")} >= {"default", "acme"}
    assert up.json("keys", "create", "theirs", "--workspace", "acme")["workspace_id"] == added["id"]


def test_up_serves_the_api_too(pdf: Path, free_port: int) -> None:
    with short_folder() as folder, running_up(folder, API_PORT=str(free_port)) as it:
        assert it.where["api"] == f"http://127.0.0.1:{free_port}"
        key = it.json("keys", "create", "browser")["key"]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=it.where["api"], headers=headers, timeout=30) as client:
            wait_until(lambda: is_up(client))
            task = client.post("/documents", files={"file": ("mill.pdf", pdf.read_bytes())}).json()["task_id"]
            assert client.get(f"/tasks/{task}?wait=25").json()["status"] == "completed"
            hits = client.post("/search", json={"query": "wallower"}).json()["hits"]
        assert hits[0]["page_from"] == 1
    wait_until_gone(str(folder))


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").json()["status"] == "ok"
    except httpx.HTTPError:
        return False


def test_the_api_command_serves_a_running_up(up: Up, free_port: int) -> None:
    command = [*COMMAND, "api", "--port", str(free_port), "--data-dir", str(up.folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
            wait_until(lambda: is_up(client))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM)


# Runs of their own


def test_ctrl_c_leaves_nothing_running() -> None:
    with short_folder() as folder:
        with running_up(folder) as it:
            assert processes_about(str(folder))
        assert it.process.returncode == 0
        wait_until_gone(str(folder), seconds=2)
        assert not (folder / "stack.json").exists()


def test_a_killed_up_leaves_nothing_running_and_can_start_again() -> None:
    with short_folder() as folder:
        with running_up(folder) as it:
            it.process.kill()
            wait_until_gone(str(folder), seconds=40)
            assert run("status", "--data-dir", str(folder)).returncode == 78
        with running_up(folder) as it:
            assert it.json("status")["documents"] == {}


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda it: str(int(it))
)
def test_a_demo_that_is_ended_leaves_nothing(temporary: Path, signum: signal.Signals, code: int) -> None:
    command = [*COMMAND, "demo"]
    variables = environment(TMPDIR=str(temporary))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stderr
        assert "Starting" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(signum)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == code
    assert_nothing_left(temporary)


def test_a_worker_process_takes_the_commands_place() -> None:
    with short_folder() as folder, running_up(folder, "--threads", "1") as it:
        command = [*COMMAND, "worker", "--processes", "1", "--queues", "ingest_index", "--data-dir", str(folder)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as worker:
            assert worker.stderr
            assert any("is ready for action" in line for line in worker.stderr)
            assert [line for line in processes_about("dramatiq") if line.split()[0] == str(worker.pid)]
            worker.send_signal(signal.SIGTERM)
            worker.stderr.read()
        assert worker.returncode == 0
        assert it.process.poll() is None


def test_the_demo_answers_and_leaves_nothing(temporary: Path) -> None:
    done = run("demo", "--json", TMPDIR=str(temporary))
    report = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert (report["document"]["state"], report["document"]["page_count"]) == ("ready", 10)
    assert report["hits"][0]["page_from"] <= 6 <= report["hits"][0]["page_to"]
    assert "six to twelve millimetres" in " ".join(report["hits"][0]["text"].split())
    assert_nothing_left(temporary)


def test_the_demo_asks_another_pdf_in_its_own_words(pdf: Path, temporary: Path) -> None:
    done = run("demo", str(pdf), TMPDIR=str(temporary))

    assert done.returncode == 0, done.stderr
    assert "The wallower drives the great spur wheel." in done.stdout
    assert "pages 1-2" in done.stdout
    assert_nothing_left(temporary)


def test_the_demo_of_a_bad_file_says_why_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "blank.pdf").write_bytes(a_pdf(""))

    done = run("demo", str(tmp_path / "blank.pdf"), TMPDIR=str(temporary))

    assert done.returncode == 1
    assert "pdf_no_text" in done.stderr
    assert_nothing_left(temporary)


def assert_nothing_left(temporary: Path) -> None:
    wait_until_gone(str(temporary), seconds=3)
    assert list(temporary.iterdir()) == []
