"""The HTTP API. `uvicorn adapters.api:app` serves it; importing this package builds nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    app: FastAPI


def __getattr__(name: str) -> Any:
    """Build `app` from the settings when somebody first asks for it. Raises SettingsError."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from adapters.api.app import create_app  # noqa: PLC0415 - see above

    built = globals()["app"] = create_app()
    return built
