"""The OpenAPI description is true: whatever fits it is answered as it says, and what does not is refused."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance, response_schema_conformance

from adapters.api.app import create_app
from adapters.settings import Settings
from tests.api import Api, an_api
from tests.builders import WORKSPACE, Rails, a_failed_document, a_ready_document

#: Requests for each operation: half of them fit the description, half do not.
EXAMPLES = 20

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
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_as_described(method: str, path: str, description: Any, api: Api) -> None:
    operation = description[path][method]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=ALL)
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def check(case: schemathesis.Case) -> None:
        # An event is described by the data that it carries; the checker takes the whole event for it.
        beyond = [*BEYOND_SCHEMAS, *([response_schema_conformance] if path == "/events" else [])]
        case.call_and_validate(headers={"Authorization": f"Bearer {api.key}"}, excluded_checks=beyond)

    check()


def test_every_answer_has_an_example_that_fits(api: Api) -> None:
    description = api.app.openapi()
    schemas = description["components"]["schemas"]

    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                assert answer["description"], (method, path, status)
                for media_type, content in answer.get("content", {}).items():
                    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                    if not name:
                        continue  # a file
                    examples = [content["example"]] if "example" in content else schemas[name].get("examples", [])
                    of_members = [each for each in schemas[name].get("properties", {}).values() if "examples" in each]
                    assert examples or of_members, (method, path, status, media_type, name)
                    for example in examples:
                        fits = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **description})
                        assert [error.message for error in fits.iter_errors(example)] == []
