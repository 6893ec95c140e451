"""What is told of exports, erasures, notifications and jobs by name."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.api.models.base import A_DOCUMENT, A_TASK, A_TIME, Answer, Count, example
from domain.exports import ExportFormat
from domain.jobs import ALIASES
from domain.notifications import ABOUT, DEDUP_KEY, EMAIL, KIND, LONGEST_BODY, LONGEST_TITLE, USER, Way

AN_EXPORT = "7d1b1f0e-51e5-4f0e-9df4-6f4b9f0f2a11"
A_NOTIFICATION = "0b6f8a52-7a0e-4c7a-9e2f-0f5a8c1d2e33"
A_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

#: Every member of a job's parameters is a text or a number.
Param = Annotated[str, Field(max_length=LONGEST_BODY, pattern=r"^[^\x00]*$")] | int
ParamName = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


def _wanted(**members: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [members]})


class NewJob(BaseModel):
    """A job by the name that callers know it by. Its workspace is the key's."""

    model_config = _wanted(name="data:export", params={"format": "parquet"})

    name: Annotated[str, Field(max_length=100, description=f"One of {', '.join(ALIASES)}, or what they stand for.")]
    params: Annotated[
        dict[ParamName, Param], Field(max_length=20, description="Its parameters but for the workspace.")
    ] = {}


class NewExport(BaseModel):
    """What an export is written as."""

    model_config = _wanted(format="parquet")

    format: ExportFormat = ExportFormat.JSONL


class NewErasure(BaseModel):
    """What to erase: a document, or the whole workspace, whose id is asked for so that nobody does it by accident."""

    model_config = _wanted(document_id=A_DOCUMENT)

    document_id: UUID | None = None
    workspace_id: Annotated[UUID | None, Field(description="The key's own workspace, to erase all of it.")] = None


class ExportFile(Answer):
    """One file of an export."""

    name: str
    rows: Count
    bytes: Count
    sha256: str
    url: str | None = Field(description="Works without a key until `links_expire_at`; null in lists.")


class Export(Answer):
    """An export, and the manifest once it is done."""

    model_config = example(
        id=AN_EXPORT, format="parquet", state="ready", created_at=A_TIME, finished_at=A_TIME, expires_at=A_TIME,
        changed_documents=0, rows={"documents": 1, "pages": 4, "chunks": 9, "embeddings": 9}, links_expire_at=A_TIME,
        files=[{"name": "documents/00001.parquet", "rows": 1, "bytes": 2210, "sha256": A_SHA256,
                "url": f"/exports/{AN_EXPORT}/files/documents/1?expires=1795255200&signature={A_SHA256}"}],
    )  # fmt: skip

    id: UUID = Field(description="That of its task.")
    format: ExportFormat
    state: str = Field(description="`running`, `ready`, `expired`, `failed` or `cancelled`.")
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime = Field(description="When its files are removed.")
    changed_documents: Count | None = Field(description="Documents that changed meanwhile; rows may be missing.")
    rows: dict[str, Count] | None
    files: list[ExportFile] | None
    links_expire_at: datetime | None


class ExportList(Answer):
    """Some exports, the latest first."""

    items: list[Export]
    next: str | None


class Erasure(Answer):
    """A receipt: what is gone, by count."""

    model_config = example(
        id=A_TASK, document_id=A_DOCUMENT, created_at=A_TIME, finished_at=A_TIME,
        counts={"documents": 1, "document_pages": 4, "chunks": 9, "chunk_embeddings": 9, "blobs": 1},
    )  # fmt: skip

    id: UUID = Field(description="That of its task.")
    document_id: UUID | None = Field(description="Null: the whole workspace.")
    counts: dict[str, Count]
    created_at: datetime
    finished_at: datetime | None = Field(description="Null: it is not done.")


class ErasureList(Answer):
    """The latest receipts."""

    items: list[Erasure]


User = Annotated[str, Field(pattern=USER, description="The product's own name of the user.")]
Kind = Annotated[str, Field(pattern=KIND, examples=["document.ready"])]


class NewNotification(BaseModel):
    """What to tell a user."""

    model_config = _wanted(user="ada", kind="invoice.paid", title="Invoice 42 is paid", dedup_key="invoice:42:paid")

    user: User
    kind: Kind
    title: Annotated[str, Field(min_length=1, max_length=LONGEST_TITLE, pattern=r"^[^\x00]*$")]
    body: Annotated[str, Field(max_length=LONGEST_BODY, pattern=r"^[^\x00]*$")] = ""
    about: Annotated[str, Field(pattern=ABOUT, description="Such as `document:<id>`.")] = ""
    dedup_key: Annotated[str, Field(pattern=DEDUP_KEY, description="The same key twice is one notification.")] = ""


class Notification(Answer):
    """What a user was told."""

    model_config = example(
        id=A_NOTIFICATION, user="ada", kind="document.ready", title="report.pdf is ready", body="",
        about=f"document:{A_DOCUMENT}", email="queued", webhook="off", note=None, created_at=A_TIME, read_at=None,
    )  # fmt: skip

    id: UUID
    user: str
    kind: str
    title: str
    body: str
    about: str
    email: Way
    webhook: Way
    note: str | None = Field(description="Why a way to the user was not taken.")
    created_at: datetime
    read_at: datetime | None


class NotificationList(Answer):
    """Some notifications, the latest first."""

    items: list[Notification]
    next: str | None


class Marked(Answer):
    """How many notifications were marked as read."""

    model_config = example(count=3)

    count: Count


class NewPreference(BaseModel):
    """What a user wishes to hear of, and where. In the product it is always shown."""

    model_config = _wanted(kinds=["document.failed"], email="ada@example.com", webhook=False)

    kinds: Annotated[list[Kind], Field(max_length=50, description="None: all.")] = []
    email: Annotated[str | None, Field(pattern=EMAIL, max_length=254, description="Null: no mail.")] = None
    webhook: bool = False


class Preference(Answer):
    """What a user wishes."""

    model_config = example(
        user="ada", kinds=["document.failed"], email="ada@example.com", webhook=False, updated_at=A_TIME
    )

    user: str
    kinds: list[str]
    email: str | None
    webhook: bool
    updated_at: datetime


class PreferenceList(Answer):
    """What the users of the workspace wish."""

    items: list[Preference]
