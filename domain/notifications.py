"""Tell people of a workspace what happened: in the product, and by mail and webhook where they wish. Once each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.jobs import Lease

LONGEST_TITLE, LONGEST_BODY = 300, 4000

#: A user's name is the product's own; a kind is like `document.ready`.
USER = r"^[A-Za-z0-9._@+:-]{1,100}$"
KIND = r"^[a-z][a-z0-9_]{0,40}(\.[a-z][a-z0-9_]{0,40}){0,3}$"
ABOUT = r"^[A-Za-z0-9._:/-]{0,200}$"
DEDUP_KEY = r"^[!-~]{0,300}$"

#: Who may be mailed. Whether the mailbox exists only its server knows.
EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}$"


class Way(StrEnum):
    """What became of a way to a user. `unavailable`: this installation cannot go it; the note says why."""

    OFF = "off"
    QUEUED = "queued"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Notification:
    """What one user is to be told. The same `dedup_key` twice is one notification; without one, the job's id is it."""

    workspace_id: UUID
    user: str
    kind: str
    title: str
    body: str
    about: str = ""
    dedup_key: str = ""

    def check(self) -> None:
        """Raise PermanentError (notification_invalid) that names what does not fit."""
        patterns = {"user": USER, "kind": KIND, "about": ABOUT, "dedup_key": DEDUP_KEY}
        wrong = [name for name, pattern in patterns.items() if not re.search(pattern, getattr(self, name))]
        if not 0 < len(self.title) <= LONGEST_TITLE or "\0" in self.title:
            wrong.append("title")
        if len(self.body) > LONGEST_BODY or "\0" in self.body:
            wrong.append("body")
        if wrong:
            message = f"The notification does not fit: {', '.join(wrong)}. docs/notifications.md says what does."
            raise PermanentError(FailureCode.NOTIFICATION_INVALID, message)


@dataclass(frozen=True, slots=True)
class Preference:
    """What a user wishes to hear of (no kinds: all) and where: always in the product, by mail, by webhook."""

    user: str
    kinds: Sequence[str] = ()
    email: str | None = field(default=None, repr=False)
    webhook: bool = False

    def check(self) -> None:
        """Raise InvalidJobError that names what does not fit."""
        if not re.search(USER, self.user):
            raise InvalidJobError(f"the user {self.user[:40]!r} does not fit {USER}")
        if wrong := [kind for kind in self.kinds if not re.search(KIND, kind)]:
            raise InvalidJobError(f"the kind {wrong[0][:40]!r} is none")
        if self.email is not None and not re.search(EMAIL, self.email):
            raise InvalidJobError("the e-mail address is none")


@dataclass(frozen=True, slots=True)
class NotificationReport:
    """What became of a notification. `is_new`: False when the user has been told already."""

    notification_id: UUID
    is_new: bool
    email: Way = Way.OFF
    webhook: Way = Way.OFF
    note: str | None = None


class Notifications(Protocol):
    """The notifications of users."""

    def add(self, notification: Notification, lease: Lease) -> NotificationReport:
        """Keep the notification, put in what else the user wishes, and end the job: one transaction, fenced.

        The second of the same changes nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A place in a user's list, the latest first."""

    created_at: datetime
    id: UUID


def user_notification(notification: Notification, *, lease: Lease, notifications: Notifications) -> NotificationReport:
    """Tell a user something, once. Raises PermanentError (notification_invalid)."""
    notification.check()
    return notifications.add(notification, lease)
