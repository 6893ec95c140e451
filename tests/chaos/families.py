"""The load of every family beside documents: what is asked for, and what must come of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

from adapters.bootstrap import make_webhooks
from adapters.data_jobs import make_data_desk
from adapters.mail.bootstrap import make_post_office
from adapters.postgres.mail import MailDesk
from adapters.producer import enqueue
from domain.mail import Attachment, Letter, NewRecipient
from domain.media import MediaKind, Recipe, parse_recipe, thumbnail_recipe
from domain.media_processing import MediaReceipt
from domain.notifications import Preference
from tests.builders import WORKSPACE
from tests.chaos.seeds import Seed, census, seed_workspace
from tests.chaos.site import Site, settings_of
from tests.pictures import noise, saved
from tests.smtp_server import Mailbox, an_smtp_server
from tests.webhook_receiver import Receiver

#: The jobs of each family. Webhooks come of notifications, some mails do.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "media": ("generate_thumbnail", "optimize_image", "process_media", "process_file"),
    "mail": ("send_single_email", "send_bulk_emails"),
    "exports": ("export_workspace",),
    "erasure": ("erase_document", "erase_workspace"),
    "notifications": ("user_notification",),
    "cache warming": ("warm_cache",),
    "webhooks": ("deliver_webhook",),
}
FAMILY_OF = {actor: family for family, actors in FAMILIES.items() for actor in actors}

SENDER_DOMAIN = "example.com"
RECIPIENTS, RATE_LIMIT = 25, 1500
MAILED_USER, MAILED_ADDRESS, HOOKED_USER = "ada", "ada@example.org", "grace"
WORDS = 8
WARMINGS = 3

#: The largest width and height of each picture that is ordered.
Bounds = tuple[int, int]


@dataclass
class Outside:
    """Servers of others, and how workers find them."""

    mailbox: Mailbox
    receiver: Receiver
    environment: dict[str, str]


@contextmanager
def outside_servers() -> Iterator[Outside]:
    """Run a mail server that has no mailbox for some addresses, and a receiver of webhooks."""
    mailbox = Mailbox(judge_recipient=lambda address: "550 5.1.1 no such user" if address.startswith("gone") else None)
    with an_smtp_server(mailbox) as (_, port), Receiver() as receiver:
        environment = {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(port),
            "SMTP_TLS": "none",
            "MAIL_FROM": f"news@{SENDER_DOMAIN}",
            "MAIL_RETRY_SECONDS": "1",
            "WEBHOOKS_ALLOW_PRIVATE": "true",
        }
        yield Outside(mailbox, receiver, environment)


@dataclass
class Erasure:
    """What was there before, and of it the document that is to go; None: everything is."""

    seed: Seed
    before: dict[str, int]
    document_id: UUID | None


@dataclass
class Load:
    """Puts in jobs of every family, round after round, and remembers what must come of them."""

    site: Site
    outside: Outside
    rounds: int = 0
    #: Jobs that must end as failed, with their code; all others must succeed.
    must_fail: dict[UUID, str] = field(default_factory=dict)
    ordered: list[UUID] = field(default_factory=list)
    pictures: dict[UUID, Bounds] = field(default_factory=dict)
    #: Files that turn out to be pictures, of which a thumbnail is made unasked.
    files: list[UUID] = field(default_factory=list)
    #: Every mail that must arrive: address and subject.
    mails: set[tuple[str, str]] = field(default_factory=set)
    exports: list[UUID] = field(default_factory=list)
    erasures: dict[UUID, Erasure] = field(default_factory=dict)
    warmings: list[UUID] = field(default_factory=list)
    #: What users must be told beside what happens to documents: user, kind, title.
    told: set[tuple[str, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._settings = settings_of(self.site.environment)
        pool = self.site.producer.pool
        self._office, self._media = make_post_office(self._settings, pool), self.site.producer.media
        hooks = make_webhooks(self._settings, pool)
        hooks.create_endpoint(WORKSPACE, self.outside.receiver.url, ["notification.created"])
        prefer = make_data_desk(pool).notifications.prefer
        prefer(WORKSPACE, Preference(MAILED_USER, email=MAILED_ADDRESS))
        prefer(WORKSPACE, Preference(HOOKED_USER, webhook=True))
        self._users = cycle([MAILED_USER, HOOKED_USER])
        self.exported = seed_workspace(self.site, self._settings, documents=15, pages=6, chunks=100)

    def order(self) -> None:
        """Put in one round: some jobs of every family."""
        self.rounds += 1
        self._order_pictures()
        self._order_mail()
        self._order_export()
        self._order_erasures()
        self._notify()
        self.warmings += [self._enqueue("warm_cache", workspace_id=WORKSPACE) for _ in range(WARMINGS)]

    def families_in(self, state: str) -> set[str]:
        """Return the families that have a job in a state now."""
        rows = self.site.rows("SELECT DISTINCT actor FROM jobs WHERE state = %s", state)
        return {FAMILY_OF[actor] for (actor,) in rows if actor in FAMILY_OF}

    def _enqueue(self, name: str, **params: Any) -> UUID:
        job_id = enqueue(name, params, ledger=self.site.producer.ledger)
        self.ordered.append(job_id)
        return job_id

    # Media

    def _order_pictures(self) -> None:
        photo = self._media.receive_media(WORKSPACE, "photo.png", [a_photo()]).media_id
        cut = self._media.receive_media(WORKSPACE, "cut.jpg", [a_cut_photo()]).media_id
        self.photo = photo
        for side in (64, 96, 128):
            self._picture(MediaKind.THUMBNAIL, thumbnail_recipe(side, side), (side, side), media_id=photo)
        turned = parse_recipe({"operations": [{"op": "rotate", "degrees": 90}, {"op": "grayscale"}], "format": "jpeg"})
        self._picture(MediaKind.PROCESSED, turned, (150, 200), media_id=photo)
        self._picture(MediaKind.OPTIMIZED, parse_recipe({"never_larger": True}), (200, 150), media_id=photo)
        for document_id in list(self.site.ids.values())[self.rounds - 1 : self.rounds]:
            self._picture(MediaKind.THUMBNAIL, thumbnail_recipe(99, 99), (99, 99), document_id=document_id)
        broken = self._media.order_picture(WORKSPACE, MediaKind.PROCESSED, parse_recipe({}), media_id=cut)
        self.must_fail[self._ordered(broken)] = "image_damaged"
        received = self._media.receive_file(WORKSPACE, "who.knows", [a_photo()])
        self._ordered(received)
        self.files.append(received.media_id)

    def _picture(self, kind: MediaKind, recipe: Recipe, bounds: Bounds, **source: UUID) -> None:
        receipt = self._media.order_picture(WORKSPACE, kind, recipe, **source)
        self._ordered(receipt)
        self.pictures[receipt.media_id] = bounds

    def _ordered(self, receipt: MediaReceipt | None) -> UUID:
        assert receipt is not None
        assert receipt.job_id is not None
        self.ordered.append(receipt.job_id)
        return receipt.job_id

    # Mail

    def _order_mail(self) -> None:
        domain = f"round{self.rounds}.example.org"
        subject = f"Round {self.rounds}"
        MailDesk(self.site.producer.pool).suppress(WORKSPACE, f"spared@{domain}", "asked for it")
        readers = [f"reader{number}@{domain}" for number in range(RECIPIENTS)]
        key = self.site.value("SELECT blob_key FROM media_files WHERE id = %s", self.photo)
        letter = Letter(
            subject=f"{subject} for {{{{ address }}}}",
            text="Dear {{ address }}, see the picture.",
            attachments=(Attachment(key, "photo.png", "image/png"),),
        )
        recipients = [NewRecipient(address) for address in (*readers, f"gone@{domain}", f"spared@{domain}")]
        bulk = self._office.create_mailing(WORKSPACE, letter, recipients, is_bulk=True, rate_limit=RATE_LIMIT)
        single = self._office.create_mailing(WORKSPACE, Letter(subject, text="Hello."), [NewRecipient(readers[0])])
        self.ordered += [bulk.task_id, single.task_id]
        self.mails |= {(reader, f"{subject} for {reader}") for reader in readers} | {(readers[0], subject)}

    # Data

    def _order_export(self) -> None:
        wanted = "parquet" if self.rounds % 2 else "jsonl"
        self.exports.append(
            self._enqueue("export_workspace", workspace_id=self.exported.workspace_id, format=wanted),
        )

    def _order_erasures(self) -> None:
        for documents in (6, 2):
            seed = seed_workspace(self.site, self._settings, documents=documents, pages=4, chunks=30)
            self._media.receive_media(seed.workspace_id, "photo.png", [a_photo()])
            gone = seed.documents[0] if documents == 2 else None
            erasure = Erasure(seed, census(self.site, seed.workspace_id), gone)
            if gone is None:
                job_id = self._enqueue("erase_workspace", workspace_id=seed.workspace_id)
            else:
                job_id = self._enqueue("erase_document", erased_id=gone, workspace_id=seed.workspace_id)
            self.erasures[job_id] = erasure

    def _notify(self) -> None:
        """Tell each user some words, each of them twice."""
        for number in range(WORDS):
            user, title, key = next(self._users), f"Word {number} of round {self.rounds}", uuid4()
            words = {"kind": "round.word", "title": title, "body": "", "about": "", "dedup_key": f"word:{key}"}
            for _ in range(2):
                self._enqueue("user_notification", workspace_id=WORKSPACE, user=user, **words)
            self.told.add((user, "round.word", title))


@cache
def a_photo() -> bytes:
    """200 by 150 pixels that no encoder makes small."""
    return saved(noise())


@cache
def a_cut_photo() -> bytes:
    """A picture whose end is missing."""
    return saved(noise(), "JPEG")[:2000]
