"""Pictures in the ledger: made once however often they are delivered, and owned like documents' blobs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import FailureCode, JobCancelledError, LeaseLostError, PermanentError, TransientError
from domain.file_processing import RoutingReport, process_file, receive_file
from domain.housekeeping import sweep_blobs
from domain.ledger import Failure
from domain.live import Channel, ChannelKind, Family
from domain.media import Format, MediaKind, Picture, Recipe, parse_recipe, thumbnail_recipe
from domain.media_processing import MediaReceipt, MediaReport, delete_media, make_picture, order_picture, receive_media
from tests.builders import WORKSPACE, FakeBlobs, Rails, a_workspace, an_uploaded_document, must_claim
from tests.integration.test_live_events import replay
from tests.pictures import corners, saved

IMAGE = saved(corners())
PICTURE = Picture(b"a small picture", Format.WEBP, 16, 8)


@dataclass
class FakeMaker:
    """Makes the same picture of everything; `meanwhile` happens while it does."""

    meanwhile: Callable[[], None] = lambda: None
    seen: list[bytes] = field(default_factory=list)

    def make(self, file: Path, recipe: Recipe, *, still_wanted: Callable[[], None]) -> Picture:
        self.seen.append(file.read_bytes())
        self.meanwhile()
        still_wanted()
        return PICTURE


@dataclass
class Studio:
    """A workspace with pictures; each `make` is an attempt of a picture's job."""

    rails: Rails
    blobs: FakeBlobs
    maker: FakeMaker

    def upload(self, content: bytes = IMAGE, *, workspace_id: UUID = WORKSPACE) -> UUID:
        ports = {"transactions": self.rails.transactions, "blobs": self.blobs}
        return receive_media(workspace_id, "river.png", [content], max_bytes=10_000, **ports).media_id  # type: ignore[arg-type]

    def receive(self, content: bytes) -> MediaReceipt:
        ports = {"transactions": self.rails.transactions, "blobs": self.blobs}
        return receive_file(WORKSPACE, "any", [content], max_bytes=10_000, **ports)  # type: ignore[arg-type]

    def order(self, kind: MediaKind = MediaKind.THUMBNAIL, **source: Any) -> MediaReceipt:
        source = source or {"media_id": self.upload()}
        receipt = order_picture(WORKSPACE, kind, thumbnail_recipe(), transactions=self.rails.transactions, **source)
        assert receipt is not None
        return receipt

    def make(self, receipt: MediaReceipt) -> MediaReport:
        self.lease = must_claim(self.rails, self._job(receipt)).lease
        return make_picture(
            receipt.media_id,
            WORKSPACE,
            lease=self.lease,
            transactions=self.rails.transactions,
            blobs=self.blobs,
            maker=self.maker,
        )

    def route(self, receipt: MediaReceipt, *, image_max_bytes: int = 10_000) -> RoutingReport:
        self.lease = must_claim(self.rails, self._job(receipt)).lease
        return process_file(
            receipt.media_id,
            WORKSPACE,
            lease=self.lease,
            transactions=self.rails.transactions,
            blobs=self.blobs,
            image_max_bytes=image_max_bytes,
        )

    def delete(self, media_id: UUID, workspace_id: UUID = WORKSPACE) -> bool:
        return delete_media(media_id, workspace_id, transactions=self.rails.transactions, blobs=self.blobs)

    def fail(self, receipt: MediaReceipt) -> None:
        failure = Failure(FailureCode.IMAGE_DAMAGED, "It is damaged.", "fingerprint", "")
        assert self.rails.ledger.fail(self._job(receipt), self.lease, failure)

    def row(self, media_id: UUID) -> dict[str, Any]:
        return self.rails.row("SELECT * FROM media_files WHERE id = %s", media_id)

    def state(self, receipt: MediaReceipt) -> str:
        return str(self.row(receipt.media_id)["state"])

    @staticmethod
    def _job(receipt: MediaReceipt) -> UUID:
        assert receipt.job_id is not None
        return receipt.job_id


@pytest.fixture
def studio(rails: Rails) -> Studio:
    return Studio(rails, FakeBlobs(), FakeMaker())


def test_an_upload_is_ready_and_owned(rails: Rails, studio: Studio) -> None:
    row = studio.row(studio.upload())

    assert (row["state"], row["kind"], row["media_type"]) == ("ready", "upload", "image/png")
    assert studio.blobs.blobs == {row["blob_key"]: IMAGE}
    assert rails.count("unowned_blobs") == 0


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"<svg>", b""])
def test_what_is_no_image_is_not_kept(rails: Rails, studio: Studio, content: bytes) -> None:
    with pytest.raises(PermanentError):
        studio.upload(content)

    assert rails.count("media_files") == 0


def test_a_picture_is_published_and_its_job_ended_together(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()

    report = studio.make(receipt)

    row = studio.row(receipt.media_id)
    assert (report.kind, report.format, report.source_bytes) == ("thumbnail", "webp", len(IMAGE))
    assert (row["state"], row["width"], row["height"], row["frames"]) == ("ready", 16, 8, 1)
    assert studio.blobs.blobs[row["blob_key"]] == PICTURE.content
    assert rails.job(receipt.job_id)["state"] == "succeeded"
    assert studio.lease.settled
    assert rails.count("unowned_blobs") == 0


def test_a_page_is_drawn_of_the_document_itself(rails: Rails, studio: Studio) -> None:
    studio.blobs.blobs["w/blob"] = b"%PDF-1.7 water"
    document_id, _ = an_uploaded_document(rails)

    studio.make(studio.order(document_id=document_id))

    assert studio.maker.seen == [b"%PDF-1.7 water"]


def test_watchers_of_media_are_told_the_blob_of_a_thumbnail(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    studio.make(receipt)

    told = replay(rails, Channel(ChannelKind.FAMILY, Family.MEDIA))

    assert [event.name for event in told] == [
        "task.queued", "task.processing", "thumbnail_generated", "task.completed",
    ]  # fmt: skip
    row = studio.row(receipt.media_id)
    data = told[2].data
    assert data["blob_key"] == row["blob_key"]
    assert (data["task_id"], data["media_id"]) == (str(receipt.job_id), str(receipt.media_id))
    assert data["source_media_id"] == str(row["source_media_id"])


def test_only_thumbnails_are_told(rails: Rails, studio: Studio) -> None:
    studio.make(studio.order(MediaKind.OPTIMIZED))

    assert "thumbnail_generated" not in [event.name for event in replay(rails)]


def test_a_second_delivery_makes_nothing(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    studio.make(receipt)
    before = dict(studio.blobs.blobs)
    rails.connection.execute("UPDATE jobs SET state = 'pending', finished_at = NULL WHERE id = %s", [receipt.job_id])

    assert studio.make(receipt).skipped
    assert studio.blobs.blobs == before
    assert len(studio.maker.seen) == 1


def test_a_stale_attempt_publishes_nothing_and_leaves_nothing(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()

    def be_overtaken() -> None:
        rails.expire(studio._job(receipt))
        rails.leases.rescue_expired()

    studio.maker.meanwhile = be_overtaken
    with pytest.raises(LeaseLostError):
        studio.make(receipt)
    assert studio.state(receipt) == "pending"

    studio.maker.meanwhile = lambda: None
    studio.make(receipt)
    assert studio.state(receipt) == "ready"
    assert len(studio.blobs.blobs) == 2


def test_a_crash_after_the_upload_leaves_a_blob_to_the_sweeper(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    stored: list[str] = []

    class Dying(FakeBlobs):
        def put(self, key: str, content: Any) -> None:
            super().put(key, content)
            stored.append(key)
            raise TransientError(FailureCode.BLOB_UNAVAILABLE, "gone")

    before, studio.blobs = studio.blobs, Dying(studio.blobs.blobs)
    with pytest.raises(TransientError):
        studio.make(receipt)
    assert rails.column("SELECT key FROM unowned_blobs") == stored

    rails.connection.execute("UPDATE unowned_blobs SET delete_after = now() - interval '1 s'")
    sweep_blobs(transactions=rails.transactions, blobs=before)
    assert stored[0] not in before.blobs


def test_a_cancelled_job_stops_in_the_middle(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    studio.maker.meanwhile = lambda: rails.ledger.request_cancel(studio._job(receipt)) and None

    with pytest.raises(JobCancelledError):
        studio.make(receipt)


def test_a_job_that_ends_badly_takes_its_picture_along_and_a_replay_brings_it_back(
    rails: Rails, studio: Studio
) -> None:
    receipt = studio.order()
    studio.lease = must_claim(rails, studio._job(receipt)).lease
    studio.fail(receipt)

    row = studio.row(receipt.media_id)
    assert (row["state"], row["failure_code"], row["failure_message"]) == ("failed", "image_damaged", "It is damaged.")

    with rails.transaction() as unit:
        unit.dead_letters.replay(studio._job(receipt))
    assert studio.state(receipt) == "pending"
    studio.make(receipt)
    assert studio.state(receipt) == "ready"


def test_a_cancelled_job_takes_its_picture_along(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    rails.ledger.request_cancel(studio._job(receipt))

    assert studio.row(receipt.media_id)["failure_code"] == "cancelled"


def test_a_source_that_was_deleted_is_said(studio: Studio) -> None:
    media_id = studio.upload()
    receipt = studio.order(media_id=media_id)
    assert studio.delete(media_id)

    with pytest.raises(PermanentError, match="has been deleted") as caught:
        studio.make(receipt)
    assert caught.value.code is FailureCode.MEDIA_MISSING


def test_deleting_stops_the_job_and_frees_the_blob(rails: Rails, studio: Studio) -> None:
    receipt = studio.order()
    studio.maker.meanwhile = lambda: studio.delete(receipt.media_id) and None

    with pytest.raises(JobCancelledError):
        studio.make(receipt)
    ready = studio.upload()
    assert studio.delete(ready)
    assert not studio.delete(ready)
    assert rails.count("media_files") == 1


def test_nothing_is_made_of_another_workspaces_picture(rails: Rails, studio: Studio) -> None:
    media_id = studio.upload(workspace_id=a_workspace(rails))
    order = {"transactions": rails.transactions, "media_id": media_id}

    assert order_picture(WORKSPACE, MediaKind.THUMBNAIL, parse_recipe({}), **order) is None  # type: ignore[arg-type]
    assert not studio.delete(media_id)
    with pytest.raises(Exception, match="no workspace"):
        studio.upload(workspace_id=uuid4())


# Files of any type


def test_a_pdf_becomes_a_document(rails: Rails, studio: Studio) -> None:
    receipt = studio.receive(b"%PDF-1.7 water")

    report = studio.route(receipt)

    row = studio.row(receipt.media_id)
    assert report.document_id is not None
    document = rails.document(report.document_id)
    assert (document["state"], document["name"], document["byte_count"]) == ("uploaded", "any", 14)
    assert studio.blobs.blobs == {document["blob_key"]: b"%PDF-1.7 water"}
    assert (row["state"], row["document_id"], row["blob_key"]) == ("ready", report.document_id, None)
    assert rails.job(document["job_id"])["actor"] == "extract_document"
    assert rails.count("unowned_blobs") == 0
    assert rails.job(receipt.job_id)["state"] == "succeeded"


def test_the_same_pdf_is_the_same_document(rails: Rails, studio: Studio) -> None:
    first = studio.route(studio.receive(b"%PDF-1.7 water"))
    second = studio.route(studio.receive(b"%PDF-1.7 water"))

    assert first.document_id == second.document_id
    assert rails.count("documents") == 1
    assert sweep_blobs(transactions=rails.transactions, blobs=studio.blobs) == 1
    assert len(studio.blobs.blobs) == 1


def test_an_image_becomes_a_picture_with_a_thumbnail(rails: Rails, studio: Studio) -> None:
    receipt = studio.receive(IMAGE)

    report = studio.route(receipt)

    assert report.thumbnail_id is not None
    row, thumbnail = studio.row(receipt.media_id), studio.row(report.thumbnail_id)
    assert (row["state"], row["kind"], row["media_type"]) == ("ready", "upload", "image/png")
    assert (thumbnail["state"], thumbnail["source_media_id"]) == ("pending", receipt.media_id)
    studio.make(MediaReceipt(thumbnail["id"], thumbnail["job_id"]))
    assert studio.maker.seen == [IMAGE]


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"\0" * 50, b"hello", b""])
def test_any_other_file_is_refused_by_its_content(studio: Studio, content: bytes) -> None:
    with pytest.raises(PermanentError, match="whatever its name says") as caught:
        studio.route(studio.receive(content))

    assert caught.value.code is FailureCode.UNSUPPORTED_TYPE


def test_a_huge_image_is_refused(studio: Studio) -> None:
    with pytest.raises(PermanentError) as caught:
        studio.route(studio.receive(IMAGE), image_max_bytes=10)

    assert caught.value.code is FailureCode.TOO_LARGE


def test_a_file_is_routed_once(rails: Rails, studio: Studio) -> None:
    receipt = studio.receive(IMAGE)
    studio.route(receipt)
    rails.connection.execute("UPDATE jobs SET state = 'pending', finished_at = NULL WHERE id = %s", [receipt.job_id])

    assert studio.route(receipt).skipped
    assert rails.count("media_files") == 2


def test_unpublished_blobs_wait_a_day(rails: Rails, studio: Studio) -> None:
    studio.maker.meanwhile = lambda: None
    receipt = studio.order()
    seen: list[timedelta] = []

    class Looking(FakeBlobs):
        def put(self, key: str, content: Any) -> None:
            seen.extend(rails.column("SELECT delete_after - now() FROM unowned_blobs WHERE key = %s", key))
            super().put(key, content)

    studio.blobs = Looking(studio.blobs.blobs)
    studio.make(receipt)

    assert len(seen) == 1
    assert seen[0] > timedelta(hours=23)
