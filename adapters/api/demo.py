"""The demo page: a small client of this API, without anything from elsewhere."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from adapters.api.problems import Problem

router = APIRouter(prefix="/demo", include_in_schema=False)

MEDIA_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "demo.css": "text/css; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

#: Scripts, styles and connections of this server alone, nothing inline, and no markup made from strings.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-cache",
}


@router.get("")
def show_demo() -> Response:
    """Return the page."""
    return _file("index.html")


@router.get("/{name}")
def show_demo_file(name: str) -> Response:
    """Return a file that the page is made of."""
    if name not in MEDIA_TYPES or name == "index.html":
        raise Problem(404, "not_found", "Not Found.")
    return _file(name)


def _file(name: str) -> Response:
    return Response(_content(name), media_type=MEDIA_TYPES[name], headers=HEADERS)


@cache
def _content(name: str) -> bytes:
    return (files("adapters.api") / "static" / "demo" / name).read_bytes()
