"""Every way a job can go wrong, sorted by what happens next.

`PermanentError` ends the job at once. `TransientError` is retried with backoff. `ParkedError` waits until a time
without burning an attempt. `LeaseLostError` stops a stale attempt without any effect. Anything else is a bug: it is
retried a few times with its traceback kept.
"""

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum


class FailureCode(StrEnum):
    """Why a job or a document failed: metric label, database column and API value."""

    NOT_A_PDF = "not_a_pdf"
    PDF_ENCRYPTED = "pdf_encrypted"
    PDF_DAMAGED = "pdf_damaged"
    PDF_NO_PAGES = "pdf_no_pages"
    PDF_NO_TEXT = "pdf_no_text"
    TOO_LARGE = "too_large"
    PARSE_TIMEOUT = "parse_timeout"
    PARSE_MEMORY = "parse_memory"
    PARSER_CRASHED = "parser_crashed"
    BUDGET_EXCEEDED = "budget_exceeded"
    NOT_AN_IMAGE = "not_an_image"
    IMAGE_DAMAGED = "image_damaged"
    TARGET_UNREACHABLE = "target_unreachable"
    UNSUPPORTED_TYPE = "unsupported_type"
    MEDIA_MISSING = "media_missing"
    EMBEDDING_REJECTED = "embedding_rejected"
    EMBEDDING_UNAVAILABLE = "embedding_unavailable"
    BLOB_MISSING = "blob_missing"
    BLOB_UNAVAILABLE = "blob_unavailable"
    DOCUMENT_MISSING = "document_missing"
    WEBHOOK_FAILED = "webhook_failed"
    WEBHOOK_MISSING = "webhook_missing"
    MAIL_INVALID = "mail_invalid"
    MAIL_REJECTED = "mail_rejected"
    MAIL_SUPPRESSED = "mail_suppressed"
    MAIL_DEFERRED = "mail_deferred"
    MAIL_UNAVAILABLE = "mail_unavailable"
    MAIL_NOT_CONFIGURED = "mail_not_configured"
    MAIL_MISSING = "mail_missing"
    EXPORT_MISSING = "export_missing"
    EXPORT_UNSUPPORTED = "export_unsupported"
    WORKSPACE_BUSY = "workspace_busy"
    NOTIFICATION_INVALID = "notification_invalid"
    WORKER_CRASHED = "worker_crashed"
    EXPIRED = "expired"
    UNKNOWN_JOB = "unknown_job"
    CANCELLED = "cancelled"
    DATABASE_UNAVAILABLE = "database_unavailable"
    INTERNAL_ERROR = "internal_error"


class HeadraceError(Exception):
    """Root of every error that Headrace raises on purpose."""


class PermanentError(HeadraceError):
    """Retrying cannot help. The message is a sentence that tells a person what is wrong and what to do."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TransientError(HeadraceError):
    """Retrying may help: after `retry_after` when the other side named a time, else with exponential backoff."""

    def __init__(self, code: FailureCode, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class ParkedError(TransientError):
    """The job must wait for `retry_after` through no fault of its own: a provider's 429, an empty budget."""

    def __init__(self, code: FailureCode, message: str, *, retry_after: timedelta) -> None:
        super().__init__(code, message, retry_after=retry_after)


class LeaseLostError(HeadraceError):
    """The attempt no longer owns its job: it was reaped, superseded or cancelled. Stop; nothing was written."""


class JobCancelledError(LeaseLostError):
    """Someone asked for this job to be cancelled; it stops at this safe point."""


class JobInterruptedError(HeadraceError):
    """The process shuts down; the job is handed back at this safe point and goes on elsewhere."""


class UnknownJobError(HeadraceError, LookupError):
    """No job is registered under this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown job {name!r}; known jobs: {', '.join(sorted(known))}")


class InvalidJobError(HeadraceError, ValueError):
    """The parameters do not fit the job."""


class JobUnavailableError(HeadraceError, LookupError):
    """The name is known, but this installation has no such job."""


class InvalidWebhookError(HeadraceError, ValueError):
    """A webhook's address, events or number is refused; the message names the fault."""


class InvalidMailError(HeadraceError, ValueError):
    """A mailing is refused; the message names the fault."""


class SettingsError(HeadraceError):
    """One or more settings are missing or wrong; the message names each, the fault and an example."""


class SchemaError(HeadraceError):
    """The database schema is not the one this version needs; the message says which command mends it."""
