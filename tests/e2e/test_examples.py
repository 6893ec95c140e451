"""The examples do what their first lines say, in processes of their own."""

import json
import subprocess
import sys
from uuid import UUID

from tests.builders import WORKSPACE
from tests.e2e.conftest import IMPATIENT, Site
from tests.workers import ROOT, running_workers

CODE = """
import json
from fastapi.testclient import TestClient
from examples.producer import app

client = TestClient(app)
workspace = {"workspace_id": "%s"}
good = client.post("/orders", params=workspace | {"item": "flour"})
bad = client.post("/orders", params=workspace | {"item": "nothing"})
again = client.post(f"/orders/{good.json()['order_id']}/label", params=workspace)
print(json.dumps([[each.status_code, each.json()] for each in (good, bad, again)]))
"""


def test_an_order_and_its_job_are_committed_together_or_not_at_all(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE % WORKSPACE],
        env=site.environment | {"PYTHONPATH": str(ROOT)},
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    good, bad, again = json.loads(done.stdout)

    assert [good[0], bad[0], again[0]] == [202, 422, 202]
    assert site.rails.column("SELECT item FROM orders") == ["flour"]
    assert set(map(str, site.rails.column("SELECT id FROM jobs"))) == {good[1]["task_id"], again[1]["task_id"]}

    with running_workers(site.environment | IMPATIENT, modules=("actors", "examples.producer"), processes=1):
        assert site.wait_for_jobs(UUID(good[1]["task_id"]), UUID(again[1]["task_id"])) == ["succeeded"] * 2

    assert site.rails.column("SELECT label FROM orders") == ["label of flour"]
    assert set(site.rails.column("SELECT workspace_id FROM tasks")) == {WORKSPACE}


def test_the_back_end_has_forty_lines() -> None:
    text = (ROOT / "examples/producer.py").read_text()

    assert sum(bool(line.strip()) for line in text.splitlines()) <= 40
