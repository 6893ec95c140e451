"""The application: routes, errors as problems, limits, and what lives as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from adapters.api.live.router import router as live_router
from adapters.api.live.service import Live
from adapters.api.problems import install_problems
from adapters.bootstrap import make_api
from adapters.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. It connects to nothing before the first request. Raises SettingsError."""
    settings = settings or load_settings()
    app = FastAPI(title="Headrace", version="0.1.0", lifespan=_lifespan)
    app.state.settings = settings
    app.state.runtime = make_api(settings)
    app.state.live = Live(settings, app.state.runtime.pool)
    install_problems(app)
    app.include_router(live_router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        async with app.state.live.running():
            yield
    finally:
        app.state.runtime.close()
