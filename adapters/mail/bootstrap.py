"""The composition root's part for mail."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from adapters.mail.composing import TemplateComposer
from adapters.mail.smtp import SmtpServer, SmtpTransport
from adapters.postgres.mail import MailDesk, PostgresMailingIntake, PostgresMailings
from adapters.postgres.pool import LazyPool
from adapters.settings import Settings
from domain.mail import MailingReceipt, MailLimits, create_mailing
from domain.mail_delivery import MailingReport, MailPolicy, send_mailing
from domain.ports import BlobStore


@dataclass(frozen=True, slots=True)
class PostOffice:
    """What callers may do about mail, over one pool: the whole one, or a workspace's."""

    create_mailing: Callable[..., MailingReceipt]
    desk: MailDesk


def make_post_office(settings: Settings, pool: LazyPool) -> PostOffice:
    """Bind what callers do about mail to its ports."""
    return PostOffice(
        create_mailing=partial(
            create_mailing,
            intake=PostgresMailingIntake(pool),
            composer=TemplateComposer(settings.mail_from),
            limits=MailLimits(
                sender=settings.mail_from if settings.smtp_host else "",
                most_recipients=settings.mail_max_recipients,
            ),
        ),
        desk=MailDesk(pool),
    )


def bind_sending(settings: Settings, pool: LazyPool, blobs: BlobStore) -> Callable[..., MailingReport]:
    """Bind what workers do about mail to its ports; nothing connects before it is used."""
    password = settings.smtp_password
    server = SmtpServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        tls=settings.smtp_tls,
        user=settings.smtp_user,
        password=password.get_secret_value() if password else "",
        timeout_seconds=settings.smtp_timeout_seconds,
    )
    policy = MailPolicy(
        sender=settings.mail_from,
        rate_limit=settings.mail_rate_limit,
        first_pause=timedelta(seconds=settings.mail_retry_seconds),
        most_attachment_bytes=settings.mail_max_attachment_bytes,
    )
    return partial(
        send_mailing,
        mailings=PostgresMailings(pool),
        transport=SmtpTransport(server),
        composer=TemplateComposer(settings.mail_from),
        blobs=blobs,
        policy=policy,
    )
