"""What is asked for and told of pictures."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.api.models.base import A_DOCUMENT, A_TASK, A_TIME, Answer, Count, Failure, example
from domain.media import (
    DEFAULT_QUALITY,
    LAST_PAGE,
    LONGEST_SIDE,
    MOST_OPERATIONS,
    MOST_TARGET_BYTES,
    THUMBNAIL_SIDE,
    MediaKind,
    MediaState,
    Recipe,
    parse_recipe,
    thumbnail_recipe,
)

A_PICTURE = "8c2e5a64-1d7b-4a55-9f0e-2b6b1c3d4e5f"

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE, strict=True, description="Pixels.")]
Offset = Annotated[int, Field(ge=0, le=LONGEST_SIDE, strict=True, description="Pixels.")]
Quality = Annotated[int, Field(ge=1, le=100, strict=True, description="Of lossy formats.")]
FormatName = Literal["jpeg", "png", "webp", "gif", "avif"]
FitName = Annotated[
    Literal["inside", "cover", "stretch"],
    Field(description="`inside` never enlarges; `cover` cuts off what is too much; `stretch` bends."),
]
Animated = Annotated[bool, Field(description="Keep every frame, if source and format can; else the first alone.")]
Page = Annotated[int, Field(ge=1, le=LAST_PAGE, strict=True, description="Of a document.")]
TargetBytes = Annotated[
    int | None,
    Field(ge=1, le=MOST_TARGET_BYTES, description="The result is made worse, then smaller, until it fits."),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Resize(_Asked):
    """Bring to a size."""

    op: Literal["resize"]
    width: Side
    height: Side
    fit: FitName = "inside"


class Crop(_Asked):
    """Cut a rectangle out."""

    op: Literal["crop"]
    left: Offset = 0
    top: Offset = 0
    width: Side
    height: Side


class Rotate(_Asked):
    """Turn clockwise."""

    op: Literal["rotate"]
    degrees: Literal[90, 180, 270]


class Flip(_Asked):
    """Mirror."""

    op: Literal["flip"]
    axis: Literal["horizontal", "vertical"] = "horizontal"


class Grayscale(_Asked):
    """Take the colours away."""

    op: Literal["grayscale"]


Operation = Annotated[Resize | Crop | Rotate | Flip | Grayscale, Field(discriminator="op")]


class _Order(_Asked):
    """`media_id` or `document_id`: what the picture is made of."""

    media_id: UUID | None = Field(default=None, description="A picture of the workspace.")
    document_id: UUID | None = Field(default=None, description="A document of the workspace.")
    animated: Animated = False
    page: Page = 1
    max_bytes: TargetBytes = None

    @model_validator(mode="after")
    def _one_source(self) -> "_Order":
        if (self.media_id is None) == (self.document_id is None):
            raise ValueError("name either media_id or document_id")
        return self

    def _written(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"media_id", "document_id"})


class ThumbnailOrder(_Order):
    """A small picture of an image, or of a document's page."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"document_id": A_DOCUMENT, "page": 1, "width": 320}]}
    )

    width: Side = THUMBNAIL_SIDE
    height: Side = THUMBNAIL_SIDE
    fit: FitName = "inside"
    format: FormatName = "webp"
    quality: Quality = DEFAULT_QUALITY

    def recipe(self) -> Recipe:
        """Return what it asks for."""
        written = self._written()
        return thumbnail_recipe(
            written.pop("width"),
            written.pop("height"),
            fit=written.pop("fit"),
            file_format=written.pop("format"),
            **written,
        )


class OptimizationOrder(_Order):
    """The same picture in fewer bytes, never in more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"media_id": A_PICTURE, "quality": 70}]})

    format: FormatName | None = Field(default=None, description="Null: the source's.")
    quality: Quality = DEFAULT_QUALITY

    def recipe(self) -> Recipe:
        """Return what it asks for."""
        return parse_recipe(self._written() | {"never_larger": True})


class ProcessingOrder(_Order):
    """Operations in order, one result."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "media_id": A_PICTURE,
                    "operations": [
                        {"op": "crop", "width": 800, "height": 600},
                        {"op": "resize", "width": 400, "height": 300},
                    ],
                    "format": "avif",
                }
            ]
        },
    )

    operations: list[Operation] = Field(min_length=1, max_length=MOST_OPERATIONS)
    format: FormatName | None = Field(default=None, description="Null: the source's, or WebP.")
    quality: Quality = DEFAULT_QUALITY

    def recipe(self) -> Recipe:
        """Return what it asks for."""
        return parse_recipe(self._written())


class MediaReceipt(Answer):
    """What an order or an upload has become. `task_id` is null when there is nothing to do."""

    model_config = example(media_id=A_PICTURE, task_id=A_TASK)

    media_id: UUID
    task_id: UUID | None


class Media(Answer):
    """A picture, or a file that was taken as it is."""

    model_config = example(
        id=A_PICTURE,
        kind="thumbnail",
        state="ready",
        name="river.pdf",
        task_id=A_TASK,
        source_media_id=None,
        source_document_id=A_DOCUMENT,
        document_id=None,
        blob_key=f"00000000-0000-4000-8000-000000000001/{A_PICTURE}",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        byte_count=11146,
        media_type="image/webp",
        width=181,
        height=256,
        frames=1,
        unchanged=False,
        failure=None,
        created_at=A_TIME,
        ready_at=A_TIME,
    )

    id: UUID
    kind: MediaKind
    state: MediaState
    name: str
    task_id: UUID | None = Field(description="The task that makes it.")
    source_media_id: UUID | None
    source_document_id: UUID | None
    document_id: UUID | None = Field(description="The document that an uploaded file turned out to be.")
    blob_key: str | None
    sha256: str | None
    byte_count: Count | None
    media_type: str | None
    width: Count | None = Field(description="Pixels; null for uploads, which nobody has decoded.")
    height: Count | None
    frames: Count | None
    unchanged: bool = Field(description="It has the source's bytes, because nothing smaller could be made.")
    failure: Failure | None
    created_at: datetime
    ready_at: datetime | None


class MediaList(Answer):
    """Some pictures, the newest first."""

    items: list[Media]
    next: str | None
