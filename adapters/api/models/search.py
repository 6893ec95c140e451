"""Questions and the passages that answer them."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from adapters.api.models.base import A_DOCUMENT, Answer, Count, example
from domain.search import MOST_HITS, QUERY_CHARACTERS, SearchMode


class SearchRequest(BaseModel):
    """A question, how to compare, and where to look."""

    model_config = example(query="Who pays for the repair of the wheel?", mode="fused", limit=5)

    query: Annotated[str, StringConstraints(min_length=1, max_length=QUERY_CHARACTERS)]
    mode: SearchMode = Field(default=SearchMode.FUSED, description="By meaning, by words, or both fused by rank.")
    limit: Annotated[int, Field(ge=1, le=MOST_HITS)] = 10
    document_ids: Annotated[list[UUID], Field(max_length=1000)] | None = Field(
        default=None, description="Look into these alone."
    )
    uploaded_from: AwareDatetime | None = Field(default=None, description="Uploaded at this time or later.")
    uploaded_to: AwareDatetime | None = Field(default=None, description="Uploaded before this time.")


class Hit(Answer):
    """A passage that was found, and where it stands. A higher score is better; scores compare within one answer."""

    document_id: UUID
    document_name: str
    ordinal: Count
    page_from: int
    page_to: int
    char_start: Count
    char_end: Count
    text: str
    score: float


class SearchAnswer(Answer):
    """The passages that fit best, best first."""

    model_config = example(
        hits=[
            {
                "document_id": A_DOCUMENT,
                "document_name": "report.pdf",
                "ordinal": 17,
                "page_from": 9,
                "page_to": 9,
                "char_start": 120,
                "char_end": 1290,
                "text": "The miller pays for the repair of the wheel.",
                "score": 0.0325,
            }
        ]
    )

    hits: list[Hit]
