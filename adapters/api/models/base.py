"""What every answer has in common."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

A_DOCUMENT = "0d9fc1a4-6f0b-4f0c-9c55-0f0d5a3d8f11"
A_TASK = "6a1f7a5e-2f5e-4b64-8d0e-3a1c64f3b8a2"
A_TIME = "2026-11-21T10:15:30Z"

Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """Answers never have members that their description does not name."""

    model_config = ConfigDict(extra="forbid")


def example(**members: Any) -> ConfigDict:
    """Describe an answer by one example."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [members]})


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Names the kind of error for ever.")
    title: str
    status: int
    code: str = Field(description="The same in one word.")
    detail: str = Field(description="A sentence for a person.")


class Failure(Answer):
    """Why something failed."""

    code: str = Field(examples=["pdf_encrypted"])
    message: str = Field(examples=["The PDF needs a password. Remove it and upload the file again."])
