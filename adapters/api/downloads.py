"""Downloads: a blob as an answer, whole or in part."""

from contextlib import ExitStack
from typing import Any

from fastapi import Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable

from adapters.api.problems import Problem


def send_blob(request: Request, key: str, **more: Any) -> FileResponse:
    """Answer with a blob; `more` goes to the response. Raises PermanentError (blob_missing), TransientError."""
    until_sent = ExitStack()
    path = until_sent.enter_context(request.app.state.runtime.blobs.local_file(key))
    return _Download(path, background=BackgroundTask(until_sent.close), **more)


class _Download(FileResponse):
    """Says what is wrong with a `Range` as it is said of every request."""

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            raise Problem(400, "malformed_range", "The Range is not one of bytes, such as bytes=0-499.") from None
        except RangeNotSatisfiable:
            detail = f"The range is not in the file, which has {file_size:,} bytes."
            headers = {"Content-Range": f"bytes */{file_size}"}
            raise Problem(416, "range_not_satisfiable", detail, headers=headers) from None
