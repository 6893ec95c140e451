"""Who may call: keys with scopes and an end, at a bounded rate; every route asks for one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from adapters.api.app import create_app
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.redis.buckets import LocalBuckets, TokenBuckets
from domain.api_keys import Scope, new_secret
from domain.errors import InvalidJobError
from tests.api import EVERYTHING, Api, a_key, an_api, api_settings
from tests.builders import WORKSPACE, Rails, a_workspace

ROOT = Path(__file__).parents[2]

#: Routes that ask for no key: they tell nothing of any workspace.
OPEN = {"/health", "/readyz", "/livez", "/openapi.json", "/exports/{export_id}/files/{kind}/{number}"}
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url) as api:
        yield api


@pytest.fixture
def keys(rails: Rails) -> PostgresApiKeys:
    return PostgresApiKeys(rails.pool)


def filled(path: str) -> str:
    return path.replace("{number}", "1").replace("{", "").replace("}", "")


def test_every_route_asks_for_a_key(api: Api) -> None:
    routes = [(method, path) for path, methods in api.app.openapi()["paths"].items() for method in methods]
    assert len(routes) > 15

    for method, path in routes:
        if path in OPEN:
            continue
        for headers in ({}, {"Authorization": "Bearer " + new_secret()}, {"Authorization": f"Basic {api.key}"}):
            answer = api.client.request(method.upper(), filled(path), headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_every_route_is_described_or_open(api: Api) -> None:
    described = set(api.app.openapi()["paths"]) | OPEN
    hidden = {route.path for route in api.app.routes if isinstance(route, APIRoute)} - described

    assert hidden == set()


def test_a_key_without_the_scope_is_told_which_one_it_lacks(api: Api, rails: Rails) -> None:
    reader = api.as_workspace(rails, WORKSPACE, frozenset({Scope.READ_DOCUMENTS}))

    assert reader.get("/documents").status_code == 200
    for answer in (reader.upload(b"%PDF-1.7"), reader.get("/tasks"), reader.get("/stats"), reader.post("/search")):
        assert answer.status_code == 403
        assert answer.json()["code"] == "insufficient_scope"
        assert "scope=" in answer.headers["WWW-Authenticate"]


def test_a_key_ends_when_its_time_is_over(api: Api, rails: Rails) -> None:
    short = Api(api.client, a_key(rails, lifetime=timedelta(hours=1)))
    assert short.get("/documents").status_code == 200

    rails.connection.execute("UPDATE api_keys SET expires_at = now() WHERE expires_at IS NOT NULL")

    assert short.get("/documents").status_code == 401


def test_a_revoked_key_ends_at_once(api: Api, keys: PostgresApiKeys) -> None:
    key, secret = keys.create(WORKSPACE, "short", EVERYTHING)
    client = Api(api.client, secret)
    assert client.get("/documents").status_code == 200

    assert keys.revoke(key.prefix)

    assert client.get("/documents").status_code == 401
    assert keys.revoke(key.prefix) is None


def test_no_key_can_be_read_from_the_database(api: Api, rails: Rails) -> None:
    rows = rails.column("SELECT row_to_json(k)::text FROM api_keys k")

    assert rows
    assert all(api.key not in row and api.key[20:] not in row for row in rows)


def test_use_is_noted_to_the_minute(api: Api, rails: Rails) -> None:
    api.get("/documents")
    first = rails.column("SELECT last_used_at FROM api_keys")
    api.get("/documents")

    assert first[0] is not None
    assert rails.column("SELECT last_used_at FROM api_keys") == first


def test_a_workspace_name_is_taken_once(keys: PostgresApiKeys) -> None:
    added = keys.create_workspace("mill", daily_token_budget=10)

    with pytest.raises(InvalidJobError, match="'mill' already"):
        keys.create_workspace("mill")
    assert (added["name"], added["daily_token_budget"]) == ("mill", 10)
    assert {row["name"] for row in keys.list_workspaces()} == {"default", "mill"}


def test_too_many_requests_are_answered_429_until_the_bucket_fills(
    rails: Rails, tmp_path: Path, redis_url: str
) -> None:
    with an_api(rails, tmp_path, redis_url, api_requests_burst=3, api_requests_per_second=1) as api:
        answers = [api.get("/documents") for _ in range(5)]
        other = api.as_workspace(rails, a_workspace(rails)).get("/documents")

    assert [answer.status_code for answer in answers].count(429) >= 1
    assert answers[0].status_code == other.status_code == 200
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["code"] == "rate_limited"


@pytest.mark.parametrize("is_away", [False, True])
def test_a_bucket_gives_its_burst_and_then_its_rate(redis_url: str, redis_prefix: str, is_away: bool) -> None:
    url = NOWHERE if is_away else redis_url
    buckets = TokenBuckets(url, prefix=redis_prefix, per_second=1, burst=5)

    waits = [buckets.take("a") for _ in range(7)]

    assert waits[:5] == [0] * 5
    assert all(0 < wait <= 1 for wait in waits[5:])
    assert buckets.take("b") == 0
    buckets.close()


def test_two_processes_share_a_bucket(redis_url: str, redis_prefix: str) -> None:
    one, two = (TokenBuckets(redis_url, prefix=redis_prefix, per_second=1, burst=4) for _ in range(2))

    assert [each.take("a") > 0 for each in (one, two) * 3] == [False] * 4 + [True] * 2


def test_a_bucket_leaves_a_redis_alone_that_is_away() -> None:
    buckets = TokenBuckets(NOWHERE, prefix="x", per_second=1000, burst=1000)
    buckets.take("a")

    began = time.monotonic()
    assert sum(buckets.take("a") for _ in range(500)) == 0
    assert time.monotonic() - began < 2


def test_forgotten_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.redis.buckets.MOST_LOCAL_BUCKETS", 10)
    buckets = LocalBuckets(per_second=1, burst=1)

    for number in range(100):
        buckets.take(str(number))

    assert len(buckets._buckets) == 10


# The process


def test_importing_the_package_builds_nothing_and_the_api_never_imports_the_parser() -> None:
    code = (
        "import sys, adapters.api\n"
        "assert 'fastapi' not in sys.modules and 'psycopg' not in sys.modules, 'work at import'\n"
        "app = adapters.api.app\n"
        "assert app is adapters.api.app\n"
        "from fastapi.testclient import TestClient\n"
        "with TestClient(app) as client: assert client.get('/livez').status_code == 200\n"
        "app.openapi()\n"
        "print([name for name in ('pymupdf', 'fitz', 'wordllama') if name in sys.modules])"
    )
    environment = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "REDIS_URL": NOWHERE, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_missing_setting_ends_the_process_with_its_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adapters.api"],
        env={"REDIS_URL": NOWHERE, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 78
    assert "DATABASE_URL is missing" in done.stderr
    assert "Traceback" not in done.stderr


# Errors and headers


def test_every_error_is_a_problem(api: Api) -> None:
    big = b"{" + b" " * 300_000
    for answer, status, code in (
        (api.get("/nowhere"), 404, "not_found"),
        (api.request("PATCH", "/documents"), 405, "method_not_allowed"),
        (api.get("/documents?limit=0"), 422, "invalid_request"),
        (api.get("/documents/x"), 422, "invalid_request"),
        (api.post("/search", content=big, headers={"Content-Type": "application/json"}), 413, "too_large"),
        (api.post("/search", content=b"{}", headers={"Content-Type": "text/plain"}), 422, "invalid_request"),
        (api.post("/documents", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type"),
    ):
        body = answer.json()
        assert answer.status_code == body["status"] == status, answer.text
        assert body["code"] == code
        assert body["type"] == f"urn:headrace:problem:{code.replace('_', '-')}"
        assert body["detail"].endswith(".")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_validation_error_points_at_the_fault(api: Api) -> None:
    answer = api.post("/search", json={"query": "mill", "limit": 0, "document_ids": ["x"]})

    assert {error["pointer"] for error in answer.json()["errors"]} == {"/limit", "/document_ids/0"}


def test_a_bug_tells_nothing_of_the_inside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("password=hunter2 at /etc/inside.py")

    monkeypatch.setattr("adapters.api.documents.encode_cursor", broken)
    for number in range(2):
        api.upload(b"%%PDF-1.7 %d" % number)

    answer = api.get("/documents?limit=1")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["X-Request-ID"]


def test_a_request_keeps_the_id_that_a_proxy_gave_it(api: Api) -> None:
    given = api.client.get("/livez", headers={"X-Request-ID": "proxy-0123456789"})
    forged = api.client.get("/livez", headers={"X-Request-ID": "x\x09y" * 9})

    assert given.headers["X-Request-ID"] == "proxy-0123456789"
    assert len(forged.headers["X-Request-ID"]) == 32


def test_pages_of_other_origins_may_call_only_when_they_are_named(
    rails: Rails, tmp_path: Path, redis_url: str, api: Api
) -> None:
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in api.client.options("/search", headers=asked).headers

    with an_api(rails, tmp_path, redis_url, api_cors_origins="https://app.example.com") as open_api:
        assert (
            open_api.client.options("/search", headers=asked).headers["Access-Control-Allow-Origin"] == asked["Origin"]
        )
        other = open_api.client.options("/search", headers=asked | {"Origin": "https://evil.example.com"})
        assert "Access-Control-Allow-Origin" not in other.headers


# Outages


def test_a_database_that_is_away_is_a_503_with_a_reason(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    settings = api_settings(rails, tmp_path, redis_url)
    away = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://u:hunter2@127.0.0.1:1/x")}
    )
    from fastapi.testclient import TestClient

    with TestClient(create_app(away), raise_server_exceptions=False) as client:
        began = time.monotonic()
        answer = client.get("/documents", headers={"Authorization": f"Bearer {new_secret()}"})
        assert time.monotonic() - began < 6
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"]
        assert "hunter2" not in answer.text
        health = client.get("/health")
        assert (health.status_code, health.json()["connections"]["db"]) == (503, "unreachable")
        assert client.get("/livez").status_code == 200


def test_without_redis_uploads_are_accepted(rails: Rails, tmp_path: Path) -> None:
    with an_api(rails, tmp_path, NOWHERE) as api:
        assert api.upload(b"%PDF-1.7 river").status_code == 202
        assert api.client.get("/health").json()["status"] == "degraded"
        assert api.get("/stats").json()["connections"] == {"db": True, "redis": False}
