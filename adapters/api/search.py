"""Search: the passages of the caller's workspace that answer a question best."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.documentation import problems
from adapters.bootstrap import WorkspaceRuntime
from domain.api_keys import Scope
from domain.search import Within

router = APIRouter(tags=["search"])


@router.post("/search", response_model=models.SearchAnswer, responses=problems(400, 413))
def search(
    wanted: models.SearchRequest, here: Annotated[WorkspaceRuntime, Depends(workspace(Scope.SEARCH))]
) -> dict[str, Any]:
    """Find passages by meaning, by words, or by both, in all documents or in some."""
    within = Within(
        document_ids=None if wanted.document_ids is None else tuple(wanted.document_ids),
        uploaded_from=wanted.uploaded_from,
        uploaded_to=wanted.uploaded_to,
    )
    hits = here.search(here.id, wanted.query, limit=wanted.limit, mode=wanted.mode, within=within)
    return {"hits": [asdict(hit) for hit in hits]}
