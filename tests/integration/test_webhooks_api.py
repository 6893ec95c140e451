"""Webhooks over the HTTP API: one workspace's, and nothing that another should see."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.api_keys import Scope
from tests.api import Api, an_api
from tests.builders import (
    WORKSPACE,
    Rails,
    a_failed_document,
    a_failed_job,
    a_ready_document,
    a_succeeded_job,
    a_workspace,
)

URL = "https://example.com/hook"


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url) as api:
        yield api


@pytest.fixture
def endpoint(api: Api) -> str:
    return created(api)["id"]


def created(api: Api, **wanted: Any) -> dict[str, Any]:
    answer = api.post("/webhooks/endpoints", json={"url": URL} | wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_endpoint_is_added_and_its_secret_shown_once(api: Api, rails: Rails) -> None:
    answer = api.post("/webhooks/endpoints", json={"url": URL, "events": ["task.failed"], "description": "the shop"})

    assert answer.status_code == 201
    secret = answer.json()["secret"]
    assert secret.startswith("whsec_")
    shown = api.get(answer.headers["location"])
    assert shown.json() | {"created_at": None} == {
        "id": answer.json()["id"],
        "url": URL,
        "events": ["task.failed"],
        "description": "the shop",
        "created_at": None,
        "disabled_at": None,
        "disabled_reason": None,
        "failures": 0,
        "failing_since": None,
        "delivered_at": None,
        "pending": 0,
    }
    assert secret not in shown.text + api.get("/webhooks/endpoints").text


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"url": "http://example.com"}, "invalid_webhook"),
        ({"url": "https://127.0.0.1/"}, "invalid_webhook"),
        ({"url": "https://user:pw@example.com/"}, "invalid_webhook"),
        ({"url": "https://example.com/\u0000"}, "invalid_webhook"),
        ({"url": "x" * 3000}, "invalid_request"),
        ({"url": URL, "events": ["document.eaten"]}, "invalid_request"),
        ({"url": URL, "secret": "whsec_mine"}, "invalid_request"),
        ({"url": URL, "description": "\ud800"}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
def test_what_cannot_be_an_endpoint_is_a_problem(api: Api, wanted: dict[str, Any], code: str) -> None:
    # As a client without manners may write it: escaped, lone surrogates and all.
    answer = api.post(
        "/webhooks/endpoints", content=json.dumps(wanted).encode(), headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_number_of_endpoints_is_bounded(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url, webhook_endpoints_per_workspace=1) as api:
        created(api)

        answer = api.post("/webhooks/endpoints", json={"url": URL})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_webhook")
    assert "has 1 endpoints" in answer.json()["detail"]


def test_an_endpoint_is_disabled_enabled_given_a_new_secret_and_deleted(api: Api, endpoint: str) -> None:
    path = f"/webhooks/endpoints/{endpoint}"

    assert api.post(f"{path}/disable").json()["disabled_reason"] == "Disabled through the API."
    assert api.post(f"{path}/enable").json()["disabled_at"] is None
    assert api.post(f"{path}/rotate-secret").json()["secret"].startswith("whsec_")
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_deliveries_are_listed_page_by_page_and_replayed(api: Api, rails: Rails, endpoint: str) -> None:
    for _ in range(5):
        a_succeeded_job(rails, workspace_id=WORKSPACE)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get("/webhooks/deliveries", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next"]

    assert [UUID(each) for each in seen] == rails.column(
        "SELECT id FROM webhook_deliveries ORDER BY created_at DESC, id DESC"
    )
    rails.connection.execute("UPDATE webhook_deliveries SET state = 'failed', attempts = 10, finished_at = now()")
    answer = api.post(f"/webhooks/deliveries/{seen[0]}/replay")
    assert (answer.status_code, answer.json()["state"], answer.json()["attempts"]) == (202, "pending", 0)
    assert answer.json()["message_id"].startswith("msg_")
    failed = api.get("/webhooks/deliveries", params={"state": "failed", "endpoint_id": endpoint}).json()["items"]
    assert [each["id"] for each in failed] == seen[1:]
    api.post(f"/webhooks/endpoints/{endpoint}/disable")
    assert api.post(f"/webhooks/deliveries/{seen[1]}/replay").status_code == 409


def test_another_workspace_finds_nothing_behind_any_route(api: Api, rails: Rails, endpoint: str) -> None:
    a_succeeded_job(rails, workspace_id=WORKSPACE)
    delivery = rails.column("SELECT id FROM webhook_deliveries")[0]
    before = [rails.connection.execute(f"SELECT * FROM webhook_{table}").fetchall() for table in TABLES]
    other = api.as_workspace(rails, a_workspace(rails))
    routes = [
        ("GET", f"/webhooks/endpoints/{endpoint}"),
        ("DELETE", f"/webhooks/endpoints/{endpoint}"),
        ("POST", f"/webhooks/endpoints/{endpoint}/enable"),
        ("POST", f"/webhooks/endpoints/{endpoint}/disable"),
        ("POST", f"/webhooks/endpoints/{endpoint}/rotate-secret"),
        ("POST", f"/webhooks/deliveries/{delivery}/replay"),
    ]

    for method, path in routes:
        theirs, nobodys = other.request(method, path), other.request(method, path.replace(endpoint, str(uuid4())))
        assert theirs.status_code == 404, path
        assert theirs.json()["code"] == nobodys.json()["code"]
    assert other.get("/webhooks/endpoints").json() == {"items": []}
    assert other.get("/webhooks/deliveries").json() == {"items": [], "next": None}
    assert other.get("/webhooks/deliveries", params={"endpoint_id": endpoint}).json()["items"] == []
    assert [rails.connection.execute(f"SELECT * FROM webhook_{table}").fetchall() for table in TABLES] == before


TABLES = ("endpoints", "secrets", "deliveries")


def test_a_webhook_is_no_task_of_its_workspace(api: Api, rails: Rails, endpoint: str) -> None:
    job_id = a_succeeded_job(rails, workspace_id=WORKSPACE)
    (webhook,) = rails.column("SELECT job_id FROM webhook_deliveries")

    assert [task["id"] for task in api.get("/tasks").json()["items"]] == [str(job_id)]
    assert api.get(f"/tasks/{webhook}").status_code == 404


def test_a_task_is_told_under_the_id_and_with_the_status_that_the_api_shows(
    api: Api, rails: Rails, endpoint: str
) -> None:
    a_ready_document(rails)
    a_failed_document(rails, content=b"%PDF-1.7 mud", blob_key="w/mud")
    a_failed_job(rails, workspace_id=WORKSPACE)

    shown = {task["id"]: task["status"] for task in api.get("/tasks").json()["items"]}
    told = rails.connection.execute(
        "SELECT data ->> 'task_id', data ->> 'status' FROM webhook_deliveries WHERE event LIKE 'task.%%'"
    ).fetchall()

    assert dict(told) == shown
    assert len(told) == 3


def test_the_scope_is_asked_for(api: Api, rails: Rails) -> None:
    without = api.as_workspace(rails, WORKSPACE, frozenset(set(Scope) - {Scope.WEBHOOKS}))

    assert without.get("/webhooks/endpoints").status_code == 403
    assert without.get("/webhooks/deliveries").status_code == 403
