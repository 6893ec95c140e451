"""The API for tests: the real application over a test's database, in this process, with keys for its workspaces."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi.testclient import TestClient

from adapters.api.app import create_app
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.settings import Settings
from domain.api_keys import Scope
from tests.builders import WORKSPACE, Rails

EVERYTHING = frozenset(Scope)


class Api:
    """A client with a key."""

    def __init__(self, client: TestClient, key: str) -> None:
        self.client = client
        self.key = key

    @property
    def app(self) -> Any:
        return self.client.app

    def request(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self.request("DELETE", path, **options)

    def upload(self, content: bytes, name: str = "river.pdf", *, path: str = "/documents", **options: Any) -> Any:
        method = "PUT" if path.endswith("/file") else "POST"
        return self.request(method, path, files={"file": (name, content, "application/pdf")}, **options)

    def as_workspace(self, rails: Rails, workspace_id: UUID, scopes: frozenset[Scope] = EVERYTHING) -> "Api":
        """The same API with a key of another workspace, or with other scopes."""
        return Api(self.client, a_key(rails, workspace_id, scopes))


def a_key(rails: Rails, workspace_id: UUID = WORKSPACE, scopes: frozenset[Scope] = EVERYTHING, **options: Any) -> str:
    return PostgresApiKeys(rails.pool).create(workspace_id, "test", scopes, **options)[1]


def api_settings(rails: Rails, folder: Path, redis_url: str, **options: Any) -> Settings:
    """Settings of an API over a test's servers. The limits on rates are out of the way."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        database_url=rails.url,
        redis_url=redis_url,
        blob_url=f"file://{folder}/blobs",
        **{"api_requests_per_second": 100_000, "api_requests_burst": 100_000} | options,
    )


@contextmanager
def an_api(rails: Rails, folder: Path, redis_url: str, **options: Any) -> Iterator[Api]:
    app = create_app(api_settings(rails, folder, redis_url, **options))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(client, a_key(rails))
