"""A blob has an owner or a date of death; a crash between any two lines leaves no orphan and takes no owned one."""

from collections.abc import Iterable
from uuid import uuid4

import pytest

from domain.housekeeping import sweep_blobs
from domain.intake import delete_document, receive_document, replace_document
from tests.builders import WORKSPACE, FakeBlobs, Rails, a_failed_document

PDF, OTHER = b"%PDF-1.7 the river", b"%PDF-1.7 the mill"


class KilledError(BaseException):
    """The process died here."""


class DyingBlobs(FakeBlobs):
    """Stores the bytes and dies before it says so."""

    def put(self, key: str, content: Iterable[bytes]) -> None:
        super().put(key, content)
        raise KilledError


class StubbornBlobs(FakeBlobs):
    """Dies at the first deletion."""

    def delete(self, key: str) -> None:
        raise KilledError


@pytest.fixture
def blobs() -> FakeBlobs:
    return FakeBlobs()


def upload(rails: Rails, blobs: FakeBlobs, content: bytes = PDF) -> object:
    return receive_document(
        WORKSPACE, "river.pdf", [content], transactions=rails.transactions, blobs=blobs, max_bytes=1000
    ).document_id


def replace(rails: Rails, blobs: FakeBlobs, document_id, content: bytes):
    return replace_document(
        document_id, WORKSPACE, [content], transactions=rails.transactions, blobs=blobs, max_bytes=1000
    )


def sweep(rails: Rails, blobs: FakeBlobs) -> int:
    return sweep_blobs(transactions=rails.transactions, blobs=blobs)


def pass_a_day(rails: Rails) -> None:
    rails.connection.execute("UPDATE unowned_blobs SET delete_after = delete_after - interval '25 hours'")


def owned(rails: Rails) -> set[str]:
    return set(rails.column("SELECT blob_key FROM documents WHERE state <> 'deleted'"))


def test_an_adopted_blob_is_never_swept(rails: Rails, blobs: FakeBlobs) -> None:
    upload(rails, blobs)

    assert rails.count("unowned_blobs") == 0
    assert sweep(rails, blobs) == 0
    assert set(blobs.blobs) == owned(rails)


def test_an_orphan_of_a_crash_after_the_upload_is_swept_when_its_time_is_over(rails: Rails) -> None:
    blobs = DyingBlobs()
    with pytest.raises(KilledError):
        upload(rails, blobs)

    assert sweep(rails, blobs) == 0, "an upload may take that long"
    assert len(blobs.blobs) == 1
    pass_a_day(rails)
    assert sweep(rails, blobs) == 1
    assert (blobs.blobs, rails.count("unowned_blobs"), rails.count("documents")) == ({}, 0, 0)


def test_an_upload_in_progress_is_not_swept(rails: Rails, blobs: FakeBlobs) -> None:
    class SweptMeanwhile(FakeBlobs):
        def put(self, key: str, content: Iterable[bytes]) -> None:
            super().put(key, content)
            assert sweep(rails, self) == 0

    busy = SweptMeanwhile()
    upload(rails, busy)

    assert set(busy.blobs) == owned(rails)


def test_a_crash_between_deleting_document_and_blob_leaves_the_blob_to_the_sweeper(rails: Rails) -> None:
    stubborn = StubbornBlobs()
    document_id = upload(rails, stubborn)
    with pytest.raises(KilledError):
        delete_document(document_id, WORKSPACE, transactions=rails.transactions, blobs=stubborn)
    with pytest.raises(KilledError):
        sweep(rails, stubborn)

    healthy = FakeBlobs(stubborn.blobs)
    assert sweep(rails, healthy) == 1
    assert (healthy.blobs, rails.count("unowned_blobs")) == ({}, 0)


def test_a_duplicate_upload_leaves_one_blob(rails: Rails, blobs: FakeBlobs) -> None:
    upload(rails, blobs)
    upload(rails, blobs)

    assert sweep(rails, blobs) == 1
    assert set(blobs.blobs) == owned(rails)


def test_a_failed_document_that_starts_over_owns_the_new_blob_alone(rails: Rails, blobs: FakeBlobs) -> None:
    a_failed_document(rails, content=PDF, blob_key="w/old")
    blobs.blobs["w/old"] = PDF

    upload(rails, blobs)
    sweep(rails, blobs)

    assert set(blobs.blobs) == owned(rails)
    assert "w/old" not in blobs.blobs


def test_a_new_version_takes_the_old_versions_blob_along(rails: Rails, blobs: FakeBlobs) -> None:
    document_id = upload(rails, blobs)

    replace(rails, blobs, document_id, OTHER)
    sweep(rails, blobs)

    assert set(blobs.blobs) == owned(rails)
    assert list(blobs.blobs.values()) == [OTHER]


@pytest.mark.parametrize("content", [PDF, OTHER], ids=["same bytes", "no such document"])
def test_a_version_that_nobody_takes_leaves_no_blob(rails: Rails, blobs: FakeBlobs, content: bytes) -> None:
    document_id = upload(rails, blobs)
    target = document_id if content == PDF else uuid4()

    receipt = replace(rails, blobs, target, content)

    assert (receipt and receipt.is_new) in (None, False)
    assert sweep(rails, blobs) == 1
    assert set(blobs.blobs) == owned(rails)
