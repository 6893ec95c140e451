"""Tokens: reserved before they are spent, settled when they were."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens set aside for a job. It is stale once `expires_at` has passed."""

    id: UUID
    workspace_id: UUID
    job_id: UUID | None
    tokens: int
    expires_at: datetime
