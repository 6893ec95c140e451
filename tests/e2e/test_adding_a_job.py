"""docs/adding-a-job.md, followed to the letter on a copy of the project, makes a family that runs."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import workers
from tests.builders import WORKSPACE, a_ready_document
from tests.e2e.conftest import Site
from tests.workers import ROOT, running_workers

PAGE = (ROOT / "docs/adding-a-job.md").read_text(encoding="utf-8")
PACKAGES = ("actors", "adapters", "domain", "middleware")
FILES = re.findall(r"```(?:python|sql)\n(?:#|--) (\S+)\n(.*?)```", PAGE, re.DOTALL)
LINES = re.findall(r"^\| `([\w/.]+)` \| `(.+?)` \| `(.+?)` \|$", PAGE, re.MULTILINE)

MOST_LINES = 60
ENQUEUE = """
import sys
from adapters.producer import enqueue
print(enqueue("count_words", {"counted_id": sys.argv[1], "workspace_id": sys.argv[2]}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project, to which the page was applied."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, anchor, line in LINES:
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert text.count(f"\n{anchor}\n") == 1, anchor
        path.write_text(text.replace(f"\n{anchor}\n", f"\n{anchor}\n{line}\n"), encoding="utf-8")
    return tmp_path


def enqueue(project: Path, site: Site, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", ENQUEUE, *arguments],
        cwd=project, env=site.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_family_built_from_the_page_runs(site: Site, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = a_ready_document(site.rails, ["Water turns the wheel.", "The wheel turns."])
    monkeypatch.setattr(workers, "ROOT", project)

    with running_workers(site.environment, modules=["actors"], processes=1) as running:
        for item in (document_id, WORKSPACE):  # the latter is no document
            answer = enqueue(project, site, str(item), str(WORKSPACE))
            assert answer.returncode == 0, answer.stderr
        site.wait_for_jobs()
        counted = [json.loads(line)["words"] for line in running.log.splitlines() if '"words_counted"' in line]

    assert counted == [7]
    ended = site.rails.connection.execute(
        "SELECT queue, state, failure_code FROM jobs WHERE actor = 'count_words' ORDER BY created_at"
    ).fetchall()
    assert ended == [("counting", "succeeded", None), ("counting", "failed", "document_missing")]


def test_wrong_parameters_are_refused_before_the_ledger(site: Site, project: Path) -> None:
    answer = enqueue(project, site, "no uuid", str(WORKSPACE))

    assert "InvalidJobError" in answer.stderr


def test_the_family_is_short() -> None:
    code = [line for _, text in FILES for line in text.splitlines() if line.strip()] + [line for *_, line in LINES]

    assert len(code) < MOST_LINES
