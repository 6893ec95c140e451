"""What the OpenAPI description says of errors and of bodies that are streamed."""

from http import HTTPStatus
from typing import Any, get_args

from pydantic import BaseModel

from adapters.api import models
from adapters.api.models import data
from adapters.api.problems import CODES, MEDIA_TYPE, TYPE_PREFIX

#: Errors that any call with a key may meet.
ALWAYS = (401, 403, 422, 429, 500, 503)

DETAILS = {
    400: "The multipart body is malformed.",
    401: "The key is wrong, expired or revoked.",
    403: "The key lacks the scope documents:write.",
    404: "There is no document 0d9fc1a4-6f0b-4f0c-9c55-0f0d5a3d8f11.",
    408: "The upload was too slow.",
    409: "The document is being worked on already; wait until it is ready or failed.",
    413: "The request is larger than 209,715,200 bytes.",
    415: "Send the file as multipart/form-data.",
    416: "The range is not in the file, which has 48,211 bytes.",
    422: "The request is not valid: query/limit: Input should be less than or equal to 200.",
    429: "This key has made too many requests; make them more slowly.",
    500: "The request failed for a reason that is not yours; it was written down.",
    503: "The database is not available at the moment. Nothing was changed; try again.",
}
#: Codes that an example shows where the status alone has another.
EXAMPLE_CODES = {403: "insufficient_scope", 409: "conflict", 503: "database_unavailable"}

HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    403: {"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "2"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these errors, and those that any call may meet."""
    return {status: _problem(status) for status in sorted({*statuses, *ALWAYS})}


def open_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a call without a key."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    code = EXAMPLE_CODES.get(status, CODES.get(status, "error"))
    example = {
        "type": TYPE_PREFIX + code.replace("_", "-"),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": DETAILS[status],
    }
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
        "headers": {
            name: {"schema": {"type": "string"}, "example": value} for name, value in HEADERS.get(status, {}).items()
        },
    }


def located(description: str, *, retry: bool = True) -> dict[str, Any]:
    """Describe an answer that names where its task is."""
    headers = {"Location": {"schema": {"type": "string"}, "example": "/tasks/6a1f7a5e-2f5e-4b64-8d0e-3a1c64f3b8a2"}}
    if retry:
        headers["Retry-After"] = {"schema": {"type": "string"}, "example": "1"}
    return {"description": description, "headers": headers}


def file_body(*, several: bool = False, what: str = "A PDF") -> dict[str, Any]:
    """Describe a multipart body, which the framework does not see because it is streamed."""
    binary = {"type": "string", "format": "binary", "description": f"{what}, sent with a file name."}
    file = {"type": "array", "items": binary, "minItems": 1, "maxItems": 100} if several else binary
    schema = {"type": "object", "properties": {"file": file}, "required": ["file"], "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def complete_examples(description: dict[str, Any]) -> dict[str, Any]:
    """Put back the nulls of the models' examples, which the framework leaves out, and give lists one of one item."""
    schemas = description["components"]["schemas"]
    shown = {name: model for part in (models, data) for name, model in vars(part).items() if isinstance(model, type)}
    for name, model in shown.items():
        if name in schemas and issubclass(model, BaseModel) and (whole := _examples(model)):
            schemas.get(name, {})["examples"] = whole
    return description


def _examples(model: type[BaseModel]) -> list[Any]:
    examples: list[Any] = model.model_json_schema().get("examples", [])
    items = model.model_fields.get("items")
    if examples or items is None:
        return examples
    (kind,) = get_args(items.annotation)
    rest = {name: None for name in model.model_fields if name != "items"}
    return [{"items": [item], **rest} for item in _examples(kind)]
