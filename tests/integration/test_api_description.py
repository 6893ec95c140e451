"""The OpenAPI description is true: whatever fits it is answered as it says, and what does not is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from adapters.api.app import create_app
from adapters.settings import Settings
from tests.api import Api, an_api
from tests.builders import WORKSPACE, Rails, a_failed_document, a_ready_document

#: Requests for each operation: half of them fit the description, half do not.
EXAMPLES = 20

#: It does not end by itself; tests/e2e/test_live.py reads it.
STREAM = "/events"

#: No schema says that bytes are a PDF, or that a cursor comes from the answer before.
BEYOND_SCHEMAS = [positive_data_acceptance]

ALL = list(HealthCheck)
CONFIG = schemathesis.Config.from_dict(
    {"generation": {"mode": "all", "max-examples": EXAMPLES, "deterministic": True, "allow-extra-parameters": False}}
)


@pytest.fixture(scope="module")
def api(module_rails: Rails, tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Api]:
    with an_api(module_rails, tmp_path_factory.mktemp("api"), redis_url) as api:
        a_ready_document(module_rails, blob_key=f"{WORKSPACE}/ready")
        a_failed_document(module_rails, content=b"other", blob_key=f"{WORKSPACE}/failed")
        yield api


@pytest.fixture(scope="module")
def description(api: Api) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", api.app, config=CONFIG)


def operations() -> list[tuple[str, str]]:
    """Every method and path, without connecting to anything."""
    nowhere = Settings(_env_file=None, database_url="postgresql://x@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")
    paths = create_app(nowhere).openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations if path != STREAM]


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_as_described(method: str, path: str, description: Any, api: Api) -> None:
    operation = description[path][method]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=ALL)
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {api.key}"}, excluded_checks=BEYOND_SCHEMAS)

    check()


def test_every_answer_has_an_example_or_a_schema(api: Api) -> None:
    description = api.app.openapi()

    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                assert answer["description"], (method, path, status)
                if int(status) >= 400 and "application/problem+json" in answer.get("content", {}):
                    assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)
