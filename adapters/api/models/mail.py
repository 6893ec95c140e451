"""What is said and told of mail."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.api.models.base import A_TASK, A_TIME, Answer, Count, example
from domain.mail import (
    LONGEST_ADDRESS,
    LONGEST_BODY,
    LONGEST_NAME,
    LONGEST_SUBJECT,
    LONGEST_URL,
    MOST_ATTACHMENTS,
    InDoubt,
    RecipientState,
)
from domain.tasks import TaskStatus

Address = Annotated[str, Field(min_length=3, max_length=LONGEST_ADDRESS, examples=["anna@example.com"])]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Variables = Annotated[dict[str, Any], Field(description="What the templates may say; 16 KB as JSON.")]

_LETTER: dict[str, Any] = {
    "subject": "Your invoice, {{ name }}",
    "text": "Dear {{ name }}, you owe {{ amount }}.",
    "html": "<p>Dear {{ name }}, you owe {{ amount }}.</p>",
}


_RECIPIENT: dict[str, Any] = {
    "number": 17,
    "address": "ben@example.com",
    "name": "Ben",
    "state": "failed",
    "attempts": 1,
    "code": 550,
    "error": "550 5.1.1 no such user",
    "next_attempt_at": None,
    "finished_at": A_TIME,
}
_SUPPRESSION: dict[str, Any] = {"address": "ben@example.com", "reason": "unsubscribed", "created_at": A_TIME}


class MailAttachment(BaseModel):
    """A blob of the workspace."""

    model_config = ConfigDict(extra="forbid")

    blob_key: Annotated[
        str, Field(min_length=1, max_length=1000, description="Its key, as events and answers name it.")
    ]
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    media_type: Annotated[str, Field(max_length=120)] = "application/octet-stream"


class _Letter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subject: Annotated[str, Field(max_length=LONGEST_SUBJECT, description="A Jinja2 template, one line.")]
    text: Annotated[str | None, Field(max_length=LONGEST_BODY, description="A Jinja2 template.")] = None
    html: Annotated[
        str | None, Field(max_length=LONGEST_BODY, description="A Jinja2 template; values are escaped.")
    ] = None
    variables: Variables = {}
    from_name: Name = ""
    reply_to: Annotated[str | None, Field(max_length=LONGEST_ADDRESS)] = None
    unsubscribe_url: Annotated[
        str | None,
        Field(
            max_length=LONGEST_URL,
            description="A template of an https: address that takes one-click requests (RFC 8058), or of a mailto:.",
        ),
    ] = None
    attachments: Annotated[list[MailAttachment], Field(max_length=MOST_ATTACHMENTS)] = []
    in_doubt: Annotated[
        InDoubt, Field(description="When nobody can tell whether a mail was taken: risk a second one, or risk none.")
    ] = InDoubt.SEND_AGAIN


class NewMail(_Letter):
    """A mail to one. It has text, html or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"to": "anna@example.com", **_LETTER, "variables": {"amount": "12 €"}}]},
    )

    to: Address
    to_name: Name = ""


class MailTo(BaseModel):
    """One of many. Its variables win over those of all; the templates know `name` and `address`, too."""

    model_config = ConfigDict(extra="forbid")

    to: Address
    name: Name = ""
    variables: Variables = {}


class NewBulkMail(_Letter):
    """A mail to many, each of whom gets one of their own. Who is named twice gets one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "recipients": [{"to": "anna@example.com", "name": "Anna", "variables": {"amount": "12 €"}}],
                    **_LETTER,
                    "rate_limit": 600,
                }
            ]
        },
    )

    recipients: Annotated[list[MailTo], Field(min_length=1, max_length=100_000)]
    rate_limit: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Most mails a minute; null: as many as the deployment may.")
    ] = None


class StartedMailing(Answer):
    """A mailing that was put in. `total`: mailboxes, each counted once."""

    model_config = example(task_id=A_TASK, total=10_000)

    task_id: UUID
    total: Count


class Mailing(Answer):
    """A mailing and how far it is. `done` never goes back."""

    model_config = example(
        task_id=A_TASK,
        kind="send_bulk_emails",
        status="processing",
        progress="450 / 10,000",
        subject="Your invoice, {{ name }}",
        done=450,
        total=10_000,
        sent=441,
        failed=6,
        suppressed=3,
        unconfirmed=0,
        doubts=0,
        rate_limit=600,
        in_doubt="send_again",
        paused_at=None,
        outage_since=None,
        created_at=A_TIME,
        finished_at=None,
    )

    task_id: UUID
    kind: str
    status: TaskStatus
    progress: str
    subject: str
    done: Count = Field(description="Recipients that are settled, one way or another.")
    total: Count
    sent: Count
    failed: Count
    suppressed: Count
    unconfirmed: Count = Field(description="Perhaps sent, and not tried again, as `in_doubt` wanted.")
    doubts: Count = Field(description="How often nobody could tell whether a mail had been taken.")
    rate_limit: Count | None
    in_doubt: InDoubt
    paused_at: datetime | None
    outage_since: datetime | None = Field(description="Since when the mail server has not answered; null: it does.")
    created_at: datetime
    finished_at: datetime | None


class MailRecipient(Answer):
    """One recipient and what became of their mail."""

    model_config = example(**_RECIPIENT)

    number: Count
    address: str
    name: str
    state: RecipientState
    attempts: Count = Field(description="Refusals so far.")
    code: int | None = Field(description="The mail server's last answer.")
    error: str | None
    next_attempt_at: datetime | None
    finished_at: datetime | None


class MailRecipientList(Answer):
    """Recipients in the caller's order. `next`: the cursor of the following page."""

    model_config = example(items=[_RECIPIENT], next=None)

    items: list[MailRecipient]
    next: str | None


class NewSuppression(BaseModel):
    """An address that is to get nothing more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"address": "anna@example.com", "reason": "unsubscribed"}]}
    )

    address: Address
    reason: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = "unsubscribed"


class Suppression(Answer):
    """An address that gets nothing."""

    model_config = example(**_SUPPRESSION)

    address: str
    reason: str
    created_at: datetime


class SuppressionList(Answer):
    """Addresses that get nothing, in alphabetical order. `next`: the cursor of the following page."""

    model_config = example(items=[_SUPPRESSION], next=None)

    items: list[Suppression]
    next: str | None
