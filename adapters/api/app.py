"""The application: routes, errors as problems, limits, and what lives as long as the process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from adapters.api import demo, documents, exports, jobs, mail, media, notifications, search, status, tasks, webhooks
from adapters.api.body_limit import BodyLimit
from adapters.api.documentation import complete_examples
from adapters.api.envelope import Envelope
from adapters.api.live import router as live
from adapters.api.live.service import Live
from adapters.api.problems import install_problems
from adapters.api.tasks import Waiters
from adapters.api.uploads import Uploads
from adapters.bootstrap import make_api
from adapters.settings import Settings, load_settings

VERSION = "0.1.0"

DESCRIPTION = """\
PDFs in, retrieval-ready chunks with embeddings out.

Send `Authorization: Bearer hr_…`: the key, made by `headrace keys create`, names the one workspace that a caller sees.
Every error is `application/problem+json` (RFC 9457) with a `code` for programs and a `detail` for people.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. It connects to nothing before the first request. Raises SettingsError."""
    settings = settings or load_settings()
    app = FastAPI(
        title="Headrace",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.runtime = make_api(settings)
    app.state.uploads = Uploads(settings)
    app.state.waiters = Waiters(settings.api_most_waiting)
    app.state.started_at = time.monotonic()
    for module in (documents, jobs, exports, notifications, mail, media, tasks, search, webhooks, status, live, demo):
        app.include_router(module.router)
    install_problems(app)
    generate = app.openapi
    app.openapi = cache(lambda: complete_examples(generate()))  # type: ignore[method-assign]
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Surround the application; what is added last is outermost."""
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors_origins.split(","),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed"],
            max_age=600,
        )
    app.add_middleware(BodyLimit)
    app.add_middleware(Envelope)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    current_default_thread_limiter().total_tokens = app.state.settings.api_threads
    try:
        live = Live(app.state.settings, app.state.runtime.pool)
        async with live.running():
            yield {"live": live}  # of this event loop: connections find it in their own state
    finally:
        app.state.runtime.close()
