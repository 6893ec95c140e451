"""Exports, erasures, notifications and jobs by name over the HTTP API."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.blobs.store import ObstoreBlobStore
from adapters.exports.files import TemporaryPartFiles
from adapters.postgres.exports import PostgresExports
from domain.api_keys import Scope
from domain.exports import export_workspace, sign_link
from tests.api import Api, an_api
from tests.builders import WORKSPACE, Rails, a_ready_document, a_workspace, must_claim
from tests.integration.test_notifications import run_notifications


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url) as api:
        yield api


@pytest.fixture
def exported(api: Api, rails: Rails, tmp_path: Path) -> str:
    """An export that was asked for over the API and is ready."""
    a_ready_document(rails, blob_key=f"{WORKSPACE}/x")
    export_id = api.post("/tasks/exports", json={"format": "jsonl"}).json()["task_id"]
    export_workspace(
        WORKSPACE,
        "jsonl",
        lease=must_claim(rails, UUID(export_id)).lease,
        exports=PostgresExports(rails.pool),
        blobs=ObstoreBlobStore(f"file://{tmp_path}/blobs"),
        files=TemporaryPartFiles(),
        keep=timedelta(days=1),
    )
    return str(export_id)


def test_an_export_is_downloaded_with_links_that_need_no_key(api: Api, exported: str) -> None:
    export = api.get(f"/exports/{exported}").json()

    assert export["state"] == "ready"
    for file in export["files"]:
        answer = api.client.get(file["url"])
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert len(answer.content) == file["bytes"]
    assert {row["id"] for row in api.get("/exports").json()["items"]} == {exported}
    assert api.get(f"/tasks/{exported}").json()["status"] == "completed"


def test_a_link_opens_one_file_for_a_while(api: Api, rails: Rails, exported: str) -> None:
    url = api.get(f"/exports/{exported}").json()["files"][0]["url"]
    expires = int(url.partition("expires=")[2].partition("&")[0])

    wrong = [
        url.replace("documents", "chunks"),
        url.replace(f"expires={expires}", f"expires={expires + 1}"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace(exported, str(uuid4())),
    ]
    assert [api.client.get(each).status_code for each in wrong] == [403] * 4
    assert {api.client.get(each).json()["code"] for each in wrong} == {"link_invalid"}

    rails.connection.execute("UPDATE exports SET expires_at = now()")
    assert api.client.get(url).status_code == 403
    assert api.get(f"/exports/{exported}").json()["state"] == "expired"


def test_a_link_ends_with_its_time(api: Api, rails: Rails, exported: str) -> None:
    [secret] = rails.column("SELECT secret FROM exports")
    name, path = f"{exported}/documents/00001.jsonl.gz", f"/exports/{exported}/files/documents/1"

    for expires, status in ((1, 403), (2**39, 200)):
        query = {"expires": expires, "signature": sign_link(bytes(secret), name, expires)}
        assert api.client.get(path, params=query).status_code == status


def test_what_belongs_to_others_does_not_exist(api: Api, rails: Rails, exported: str) -> None:
    stranger = api.as_workspace(rails, a_workspace(rails))
    document_id = rails.column("SELECT id FROM documents")[0]

    assert stranger.get(f"/exports/{exported}").status_code == 404
    assert stranger.get("/exports").json()["items"] == []
    assert stranger.post("/tasks/erasures", json={"document_id": str(document_id)}).status_code == 404
    assert stranger.post("/tasks/erasures", json={"workspace_id": str(WORKSPACE)}).status_code == 422
    assert stranger.get(f"/erasures/{uuid4()}").status_code == 404


def test_erasing_everything_asks_for_the_workspace(api: Api, rails: Rails) -> None:
    assert api.post("/tasks/erasures", json={}).status_code == 422

    answer = api.post("/tasks/erasures", json={"workspace_id": str(WORKSPACE)})

    assert answer.status_code == 202
    assert rails.job(UUID(answer.json()["task_id"]))["actor"] == "erase_workspace"


def test_a_key_without_the_scope_exports_nothing(api: Api, rails: Rails) -> None:
    reader = api.as_workspace(rails, WORKSPACE, frozenset({Scope.READ_TASKS, Scope.WRITE_TASKS}))

    assert reader.post("/tasks/exports", json={}).status_code == 403
    assert reader.post("/tasks/erasures", json={"workspace_id": str(WORKSPACE)}).status_code == 403
    assert reader.post("/tasks", json={"name": "data:export", "params": {"format": "jsonl"}}).status_code == 403


def test_the_same_request_twice_is_one_export(api: Api, rails: Rails) -> None:
    headers = {"Idempotency-Key": "export-1"}
    answers = [api.post("/tasks/exports", json={"format": "jsonl"}, headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert rails.count("jobs") == 1
    other = api.post("/tasks/exports", json={"format": "parquet"}, headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"


def test_the_same_key_for_another_job_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "job-1"}
    answers = [api.post("/tasks", json={"name": name}, headers=headers) for name in ("cache:warm", "data:export")]

    assert answers[0].status_code == 202
    assert answers[1].json()["code"] == "idempotency_key_reused"


def test_jobs_start_by_their_aliases(api: Api, rails: Rails) -> None:
    note = {"user": "ada", "kind": "a.b", "title": "A", "body": "", "about": "", "dedup_key": ""}
    wanted = {
        "data:export": ({"format": "jsonl"}, "export_workspace"),
        "cache:warm": ({}, "warm_cache"),
        "user:notification": (note, "user_notification"),
    }
    for alias, (params, actor) in wanted.items():
        answer = api.post("/tasks", json={"name": alias, "params": params})
        assert answer.status_code == 202, answer.text
        job = rails.job(UUID(answer.json()["task_id"]))
        assert (job["actor"], job["workspace_id"]) == (actor, WORKSPACE)


LETTER = {"to": "anna@example.com", "subject": "Hello", "text": "Dear Anna."}


def test_a_mail_is_sent_by_name_once(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    headers = {"Idempotency-Key": "mail-1"}
    with an_api(rails, tmp_path, redis_url, smtp_host="localhost", mail_from="news@example.com") as api:
        answers = [api.post("/tasks", json={"name": "email:send", "params": LETTER}, headers=headers) for _ in range(2)]
        other = api.post("/tasks", json={"name": "email:send", "params": LETTER | {"subject": "x"}}, headers=headers)

    assert answers[0].status_code == 202, answers[0].text
    assert answers[0].json() == answers[1].json()
    assert other.json()["code"] == "idempotency_key_reused"
    job = rails.job(UUID(answers[0].json()["task_id"]))
    assert (job["actor"], job["workspace_id"]) == ("send_single_email", WORKSPACE)
    assert rails.column("SELECT address FROM mail_recipients") == ["anna@example.com"]


def test_a_stored_file_is_looked_at_by_name(api: Api, rails: Rails, tmp_path: Path) -> None:
    key = f"{WORKSPACE}/dropped"
    ObstoreBlobStore(f"file://{tmp_path}/blobs").put(key, [b"%PDF-1.7 water"])

    answer = api.post("/tasks", json={"name": "file:process", "params": {"blob_key": key, "name": "who.knows"}})

    assert answer.status_code == 202, answer.text
    [file] = rails.connection.execute("SELECT kind, state, name, blob_key, job_id::text FROM media_files").fetchall()
    assert file[:3] == ("file", "pending", "who.knows")
    assert file[3] != key
    assert file[4] == answer.json()["task_id"]


@pytest.mark.parametrize(
    ("name", "params", "status", "code"),
    [
        ("email:send", LETTER, 503, "mail_not_configured"),
        ("email:send", {"mailing_id": str(uuid4())}, 422, "invalid_request"),
        ("file:process", {"blob_key": f"{WORKSPACE}/gone", "name": "x"}, 404, "blob_missing"),
        ("file:process", {"blob_key": f"{WORKSPACE}/../{uuid4()}/x", "name": "x"}, 422, "invalid_request"),
        ("file:process", {"blob_key": f"{uuid4()}/x", "name": "x"}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_started_by_name_is_refused(
    api: Api, rails: Rails, name: str, params: dict[str, str], status: int, code: str
) -> None:
    answer = api.post("/tasks", json={"name": name, "params": params})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert rails.count("jobs") == 0


@pytest.mark.parametrize(
    "params",
    [
        r'{"user": "ada", "kind": "a.b", "title": "\u0000", "body": "", "about": "", "dedup_key": ""}',
        r'{"\ud800": "x"}',
    ],
)
def test_parameters_that_no_text_can_have_are_refused(api: Api, rails: Rails, params: str) -> None:
    content = f'{{"name": "user:notification", "params": {params}}}'

    answer = api.post("/tasks", content=content, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert rails.count("jobs") == 0


@pytest.mark.parametrize("name", ["sweep_blobs", "extract_document", "erase_workspace", "no_such"])
def test_other_jobs_are_not_started_by_name(api: Api, rails: Rails, name: str) -> None:
    answer = api.post("/tasks", json={"name": name})

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_job")
    assert rails.count("jobs") == 0


def test_the_workspace_of_a_job_is_the_keys(api: Api, rails: Rails) -> None:
    other = str(a_workspace(rails))

    assert api.post("/tasks", json={"name": "cache:warm", "params": {"workspace_id": other}}).status_code == 422
    assert rails.count("jobs") == 0


def test_a_job_that_is_not_here_is_said_to_be_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain import jobs

    monkeypatch.setattr(jobs, "JOBS", {})

    answer = api.post("/tasks", json={"name": "file:process"})

    assert (answer.status_code, answer.json()["code"]) == (409, "job_unavailable")


def test_users_are_told_of_documents_and_mark_what_they_have_read(api: Api, rails: Rails) -> None:
    wish = api.request("PUT", "/notifications/preferences/ada", json={"kinds": ["document.ready"]})
    assert wish.status_code == 200, wish.text
    a_ready_document(rails, blob_key=f"{WORKSPACE}/x")
    run_notifications(rails)

    [told] = api.get("/notifications?user=ada&unread=true").json()["items"]
    assert told["title"] == "river.pdf is ready"
    assert api.post(f"/notifications/{told['id']}/read").json()["read_at"]
    assert api.get("/notifications?user=ada&unread=true").json()["items"] == []
    assert api.post("/notifications/read?user=ada").json() == {"count": 0}

    stranger = api.as_workspace(rails, a_workspace(rails))
    assert stranger.get("/notifications").json()["items"] == []
    assert stranger.post(f"/notifications/{told['id']}/read").status_code == 404
    assert stranger.get("/notifications/preferences").json()["items"] == []
    assert stranger.delete("/notifications/preferences/ada").status_code == 404
    assert api.delete("/notifications/preferences/ada").status_code == 204


def test_lists_go_on_behind_their_cursor(api: Api, rails: Rails) -> None:
    for number in range(5):
        body = {"user": "ada", "kind": "a.b", "title": f"Title {number}"}
        assert api.post("/tasks/notifications", json=body).status_code == 202
        run_notifications(rails)

    titles, cursor = [], ""
    for _ in range(3):
        page = api.get(f"/notifications?limit=2{cursor}").json()
        titles += [item["title"] for item in page["items"]]
        cursor = f"&cursor={page['next']}"

    assert titles == [f"Title {number}" for number in (4, 3, 2, 1, 0)]
    assert page["next"] is None
