"""Who calls: a bearer key names one workspace and what may be done there. Nothing else in a request does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from adapters.api.problems import Problem, try_again
from adapters.bootstrap import ApiRuntime, WorkspaceRuntime
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
    """Return the caller. Raises Problem: 401 without a key that works, 429 when it calls too often."""
    if credentials is None:
        raise unauthenticated("Send a key: `Authorization: Bearer hr_…`.")
    caller = authenticate(request.app, credentials.credentials)
    admit(request.app, caller)
    return caller


def authenticate(app: object, secret: str) -> Principal:
    """Return whom a key belongs to. Raises Problem: 401; TransientError when the database is away."""
    found = app.state.runtime.keys.find(secret)  # type: ignore[attr-defined]
    if found is None:
        raise unauthenticated("The key is wrong, expired or revoked.")
    key_id, workspace_id, scopes = found
    return Principal(workspace_id, key_id, scopes)


def admit(app: object, caller: Principal) -> None:
    """Count a request of a key. Raises Problem: 429 when there were too many."""
    seconds = app.state.runtime.buckets.take(str(caller.key_id))  # type: ignore[attr-defined]
    if seconds:
        raise try_again(429, "rate_limited", "This key has made too many requests; make them more slowly.", seconds)


def requires(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    """Return the dependency that lets a key with this scope pass. It raises Problem: 401, 403."""

    async def allowed(caller: Annotated[Principal, Depends(principal)]) -> Principal:
        require_scope(caller, scope)
        return caller

    allowed.scope = scope  # type: ignore[attr-defined]
    return allowed


def require_scope(caller: Principal, scope: Scope) -> None:
    """Raise Problem: 403 unless the caller's key has a scope."""
    if scope not in caller.scopes:
        headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
        raise Problem(403, "insufficient_scope", f"The key lacks the scope {scope}.", headers=headers)


def workspace(scope: Scope) -> Callable[[Request, Principal], Awaitable[WorkspaceRuntime]]:
    """Return the dependency that opens the caller's workspace to a key with this scope."""

    async def opened(request: Request, caller: Annotated[Principal, Depends(requires(scope))]) -> WorkspaceRuntime:
        runtime: ApiRuntime = request.app.state.runtime
        return runtime.within(caller.workspace_id)

    return opened


def unauthenticated(detail: str) -> Problem:
    """Say that the caller is not known."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})
