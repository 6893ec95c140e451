"""Documents: a file in, searchable chunks out."""

from dataclasses import asdict
from uuid import UUID

import structlog

import actors
from actors.stage import stage
from middleware.attempt import current_lease
from middleware.metrics import count_extraction, count_indexing

log = structlog.get_logger(__name__)


@stage
def extract_document(document_id: str, workspace_id: str) -> None:
    """Read the document's pages, and index a small one at once. A second delivery resumes at the missing page."""
    runtime, lease = actors.runtime(), current_lease()
    report = runtime.extract_document(UUID(document_id), UUID(workspace_id), lease=lease)
    log.info("document_extracted", **asdict(report))
    count_extraction(report, model=runtime.embedding_model)


@stage
def index_document(document_id: str, workspace_id: str) -> None:
    """Chunk, embed and publish the document. A second delivery pays for no embedding again."""
    runtime, lease = actors.runtime(), current_lease()
    report = runtime.index_document(UUID(document_id), UUID(workspace_id), lease=lease)
    log.info("document_indexed", **asdict(report))
    count_indexing(report, model=runtime.embedding_model)
