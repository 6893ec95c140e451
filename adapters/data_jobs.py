"""Bind what jobs and callers do with a workspace's data as a whole: export, erase, notify, warm."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from adapters.blobs.store import ObstoreBlobStore
from adapters.exports.files import TemporaryPartFiles
from adapters.mail.bootstrap import make_post_office
from adapters.postgres.erasures import ErasureSearch, PostgresErasures
from adapters.postgres.exports import ExportSearch, PostgresExports
from adapters.postgres.notifications import NotificationDesk, PostgresNotifications
from adapters.postgres.pool import LazyPool
from adapters.postgres.warming import PostgresCache
from adapters.settings import Settings
from domain.erasure import ErasureReport, erase_document, erase_workspace
from domain.exports import ExportReport, export_workspace
from domain.mail import Letter, NewRecipient
from domain.notifications import Notification, NotificationReport, user_notification
from domain.ports import Embedder
from domain.warming import WarmingReport, warm_cache


@dataclass(frozen=True, slots=True)
class DataJobs:
    """What actors may do with a workspace's data."""

    export_workspace: Callable[..., ExportReport]
    erase_document: Callable[..., ErasureReport]
    erase_workspace: Callable[..., ErasureReport]
    user_notification: Callable[..., NotificationReport]
    warm_cache: Callable[..., WarmingReport]


@dataclass(frozen=True, slots=True)
class DataDesk:
    """What callers see of it, over one pool: the whole one, or a workspace's."""

    exports: ExportSearch
    erasures: ErasureSearch
    notifications: NotificationDesk


def bind_data_jobs(settings: Settings, pool: LazyPool, embedder: Embedder) -> DataJobs:
    """Bind the use cases to their ports."""
    blobs, erasures = ObstoreBlobStore(settings.blob_url), PostgresErasures(pool)
    return DataJobs(
        export_workspace=partial(
            export_workspace,
            exports=PostgresExports(pool),
            blobs=blobs,
            files=TemporaryPartFiles(),
            keep=timedelta(days=settings.export_keep_days),
        ),
        erase_document=partial(erase_document, erasures=erasures, blobs=blobs),
        erase_workspace=partial(erase_workspace, erasures=erasures, blobs=blobs, blob_list=blobs),
        user_notification=partial(
            user_notification, notifications=PostgresNotifications(pool, partial(mail_notification, settings))
        ),
        warm_cache=partial(warm_cache, cache=PostgresCache(pool, model=embedder.model, dimensions=embedder.dimensions)),
    )


def mail_notification(settings: Settings, pool: LazyPool, notification: Notification, address: str) -> None:
    """Put in a mail that tells a user what the notification does. Raises InvalidMailError, PermanentError."""
    values = {"title": notification.title, "body": notification.body or notification.title}
    letter = Letter(subject="{{ title }}", text="{{ body }}", variables=values)
    make_post_office(settings, pool).create_mailing(notification.workspace_id, letter, [NewRecipient(address)])


def make_data_desk(pool: LazyPool) -> DataDesk:
    """Bind what callers see to a pool."""
    return DataDesk(ExportSearch(pool), ErasureSearch(pool), NotificationDesk(pool))
