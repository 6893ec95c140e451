"""Sweepers, started by `periodiq actors` every minute. Running one twice, or late, does no harm."""

from dataclasses import asdict
from functools import partial

import structlog
from periodiq import cron

import actors
from actors.stage import stage

log = structlog.get_logger(__name__)

every_minute = partial(stage, periodic=cron("* * * * *"), max_retries=0)
every_five_minutes = partial(stage, periodic=cron("*/5 * * * *"), max_retries=0)


@every_minute
def cleanup_stale_reservations() -> None:
    """Free tokens that a silent job reserved."""
    freed = actors.runtime().cleanup_stale_reservations()
    log.info("reservations_freed", count=len(freed), tokens=sum(each.tokens for each in freed))


@every_minute
def sweep_documents() -> None:
    """Give documents whose job vanished a new one."""
    adopted = actors.runtime().sweep_documents()
    log.info("documents_adopted", count=len(adopted))


@every_minute
def index_vectors() -> None:
    """Let the vectors of new chunks enter the index."""
    count = actors.runtime().index_vectors()
    log.info("vectors_indexed", count=count)


@every_five_minutes
def sweep_blobs() -> None:
    """Delete blobs that no document owns."""
    count = actors.runtime().sweep_blobs()
    log.info("blobs_swept", count=count)


@every_five_minutes
def prune_history() -> None:
    """Remove old jobs, attempts, events, ticks and webhooks."""
    pruned = actors.runtime().prune_history()
    log.info("history_pruned", **asdict(pruned))
