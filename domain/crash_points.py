"""Named places where a test may end the process. Off, each costs one comparison with None."""

from collections.abc import Callable

_action: Callable[[str], None] | None = None

#: Every place that a document passes, in order.
CRASH_POINTS = (
    "after_outbox_insert",
    "after_marking_before_ringing",
    "after_claim",
    "after_page_batch",
    "before_extraction_commits",
    "after_extraction_commits",
    "after_embedding_before_storing",
    "after_storing_vectors",
    "before_publishing_commits",
    "after_publishing_commits",
)

#: Every place that jobs of the other families pass.
FAMILY_CRASH_POINTS = (
    "before_picture_is_published",
    "before_mail_is_handed_over",
    "after_mail_is_handed_over",
    "after_export_part_stored",
    "after_export_part",
    "after_erased_rows",
    "after_erased_blobs",
    "before_notification_commits",
    "before_warming_is_noted",
    "after_webhook_answered",
)


def arm(action: Callable[[str], None]) -> None:
    """Let `action` decide at every crash point whether the process ends there."""
    global _action  # noqa: PLW0603 - one switch per process, thrown before any thread starts
    _action = action


def crash_point(name: str) -> None:
    """Mark a place."""
    if _action is not None:
        _action(name)
