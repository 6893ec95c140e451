"""Who calls: a bearer key names one workspace and what may be done there. Nothing else in a request does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from adapters.api.problems import Problem
from domain.api_keys import Scope

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key made by `headrace keys create`: `Authorization: Bearer hr_…`.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a key, the one workspace that it opens, and its scopes."""

    workspace_id: UUID
    key_id: UUID
    scopes: frozenset[str]


def principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """Return the caller. Raises Problem: 401 without a key that works."""
    if credentials is None:
        raise unauthenticated("Send a key: `Authorization: Bearer hr_…`.")
    return authenticate(request.app, credentials.credentials)


def authenticate(app: object, secret: str) -> Principal:
    """Return whom a key belongs to. Raises Problem: 401; TransientError when the database is away."""
    found = app.state.runtime.keys.find(secret)  # type: ignore[attr-defined]
    if found is None:
        raise unauthenticated("The key is wrong, expired or revoked.")
    key_id, workspace_id, scopes = found
    return Principal(workspace_id, key_id, scopes)


def requires(scope: Scope) -> Callable[[Principal], Principal]:
    """Return the dependency that lets a key with this scope pass. It raises Problem: 401, 403."""

    def allowed(caller: Annotated[Principal, Depends(principal)]) -> Principal:
        if scope not in caller.scopes:
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
            raise Problem(403, "insufficient_scope", f"The key lacks the scope {scope}.", headers=headers)
        return caller

    allowed.scope = scope  # type: ignore[attr-defined]
    return allowed


def unauthenticated(detail: str) -> Problem:
    """Say that the caller is not known."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})
