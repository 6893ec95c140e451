"""Mail over the HTTP API: what is taken, what is refused, and nothing of another workspace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.api_keys import Scope
from tests.api import Api, an_api
from tests.builders import WORKSPACE, Rails, a_workspace

MAIL = {"to": "anna@example.com", "subject": "Hello {{ name }}", "text": "Dear {{ name }}"}
BULK = {
    "recipients": [{"to": "anna@example.com", "name": "Anna"}, {"to": "ben@example.com", "variables": {"name": "Ben"}}],
    "subject": "Hello {{ name }}",
    "html": "<p>{{ name }}</p>",
}


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url, smtp_host="localhost", mail_from="news@example.com") as api:
        yield api


def posted(api: Api, path: str, body: Any, **options: Any) -> Any:
    """Post JSON as a client without manners may write it: escaped, lone surrogates and all."""
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    return api.post(path, content=json.dumps(body).encode(), headers=headers, **options)


def test_a_mail_becomes_a_task(api: Api, rails: Rails) -> None:
    answer = posted(api, "/tasks/email/send", MAIL)

    assert answer.status_code == 202, answer.text
    task = answer.json()["task_id"]
    assert answer.headers["location"] == f"/tasks/{task}"
    assert api.get(f"/tasks/{task}").json()["kind"] == "send_single_email"
    assert rails.row("SELECT queue, actor FROM jobs WHERE id = %s", task) == {
        "queue": "email", "actor": "send_single_email"}  # fmt: skip


def test_a_bulk_mail_says_how_far_it_is(api: Api, rails: Rails) -> None:
    task = posted(api, "/tasks/email/bulk", BULK | {"rate_limit": 60}).json()["task_id"]
    rails.connection.execute("UPDATE mailings SET sent = 1")

    shown = api.get(f"/tasks/email/{task}").json()

    assert (shown["progress"], shown["done"], shown["total"], shown["rate_limit"]) == ("1 / 2", 1, 2, 60)
    items = api.get(f"/tasks/email/{task}/recipients", params={"limit": 1}).json()
    assert [each["address"] for each in items["items"]] == ["anna@example.com"]
    rest = api.get(f"/tasks/email/{task}/recipients", params={"limit": 1, "cursor": items["next"]}).json()
    assert ([each["address"] for each in rest["items"]], rest["next"]) == (["ben@example.com"], None)


def test_a_large_bulk_mail_is_one_request(api: Api) -> None:
    many = [{"to": f"reader{n}@example.com", "name": f"Reader {n}", "variables": {"n": n}} for n in range(10_000)]

    answer = posted(api, "/tasks/email/bulk", BULK | {"recipients": many})

    assert (answer.status_code, answer.json()["total"]) == (202, 10_000)


def test_sent_again_with_its_key_a_request_is_one_mailing(api: Api, rails: Rails) -> None:
    answers = [posted(api, "/tasks/email/send", MAIL, headers={"Idempotency-Key": "a"}) for _ in range(2)]
    other = posted(api, "/tasks/email/send", MAIL | {"subject": "x"}, headers={"Idempotency-Key": "a"})

    assert answers[0].json() == answers[1].json()
    assert rails.count("mailings") == 1
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to": "nobody"}, "invalid_mail"),
        ({"to": "a@b\r\nBcc: c@d.org"}, "invalid_mail"),
        ({"to": "<a@example.com>"}, "invalid_mail"),
        ({"to_name": "Anna\nBcc: c@d.org"}, "invalid_mail"),
        ({"subject": "x\r\nBcc: c@d.org"}, "invalid_mail"),
        ({"subject": "{{ name }", "text": "{{ name"}, "invalid_mail"),
        ({"text": "{{ missing }}"}, "invalid_mail"),
        ({"text": None}, "invalid_mail"),
        ({"text": "{{ ''.__class__.__mro__ }}"}, "invalid_mail"),
        ({"text": "{% for i in range(99999999) %}x{% endfor %}"}, "invalid_mail"),
        ({"subject": "{{ s }}", "variables": {"s": "x\r\nBcc: c@d.org"}}, "invalid_mail"),
        ({"variables": {"x": "y" * 20_000}}, "invalid_mail"),
        ({"variables": {"x": "\ud800"}}, "invalid_mail"),
        ({"variables": {"x": "\u0000"}}, "invalid_mail"),
        ({"variables": {"x": float("inf")}}, "invalid_mail"),
        ({"text": "\u0000"}, "invalid_mail"),
        ({"reply_to": "x"}, "invalid_mail"),
        ({"unsubscribe_url": "javascript:alert(1)"}, "invalid_mail"),
        ({"attachments": [{"blob_key": "00000000-0000-4000-8000-000000000002/x", "name": "x"}]}, "invalid_mail"),
        ({"subject": "\ud800"}, "invalid_request"),
        ({"from": "ceo@example.com"}, "invalid_request"),
        ({"in_doubt": "perhaps"}, "invalid_request"),
    ],
)
def test_what_cannot_be_sent_is_a_problem(api: Api, rails: Rails, change: dict[str, Any], code: str) -> None:
    answer = posted(api, "/tasks/email/send", MAIL | change)

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert rails.count("jobs") == 0


def test_a_deployment_without_a_mail_server_says_so(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url) as api:
        answer = posted(api, "/tasks/email/send", MAIL)

    assert (answer.status_code, answer.json()["code"]) == (503, "mail_not_configured")


def test_the_number_of_recipients_is_bounded(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(
        rails, tmp_path, redis_url, smtp_host="localhost", mail_from="news@example.com", mail_max_recipients=1
    ) as api:
        answer = posted(api, "/tasks/email/bulk", BULK)

    assert answer.status_code == 422
    assert "2 recipients, not from 1 to 1" in answer.json()["detail"]


def test_a_mailing_is_paused_resumed_and_cancelled(api: Api, rails: Rails) -> None:
    task = posted(api, "/tasks/email/bulk", BULK).json()["task_id"]

    assert api.post(f"/tasks/email/{task}/pause").json()["paused_at"]
    assert api.post(f"/tasks/email/{task}/resume").json()["paused_at"] is None
    assert api.post(f"/tasks/{task}/cancel").json()["status"] == "cancelled"
    ended = api.post(f"/tasks/email/{task}/pause")
    assert (ended.status_code, ended.json()["code"]) == (409, "conflict")


def test_suppressed_addresses_are_listed_and_let_go(api: Api) -> None:
    for name in ("Ben", "anna", "carl"):
        assert api.post("/email/suppressions", json={"address": f"{name}@example.com"}).status_code == 200

    first = api.get("/email/suppressions", params={"limit": 2}).json()
    rest = api.get("/email/suppressions", params={"limit": 2, "cursor": first["next"]}).json()
    gone = [api.delete(f"/email/suppressions/{name}@Example.com").status_code for name in ("anna", "anna")]

    assert [each["address"] for each in first["items"] + rest["items"]] == [
        "anna@example.com", "ben@example.com", "carl@example.com"]  # fmt: skip
    assert gone == [204, 404]


def test_a_key_without_the_scope_sends_nothing(api: Api, rails: Rails) -> None:
    weak = api.as_workspace(rails, WORKSPACE, frozenset(Scope) - {Scope.EMAIL})

    assert posted(weak, "/tasks/email/send", MAIL).status_code == 403
    assert rails.count("mailings") == 0


def test_another_workspace_finds_nothing(api: Api, rails: Rails) -> None:
    task = posted(api, "/tasks/email/bulk", BULK).json()["task_id"]
    api.post("/email/suppressions", json={"address": "anna@example.com"})
    stranger = api.as_workspace(rails, a_workspace(rails))

    assert [
        stranger.get(f"/tasks/email/{task}").status_code,
        stranger.get(f"/tasks/email/{task}/recipients").status_code,
        stranger.post(f"/tasks/email/{task}/pause").status_code,
        stranger.post(f"/tasks/email/{task}/resume").status_code,
        stranger.delete("/email/suppressions/anna@example.com").status_code,
    ] == [404] * 5
    assert stranger.get("/email/suppressions").json()["items"] == []
    assert rails.count("mailings WHERE paused_at IS NOT NULL") == 0
