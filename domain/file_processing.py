"""Files of any type: taken as they are, then routed by what they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from domain.blob_keys import is_key_of
from domain.errors import FailureCode, InvalidJobError, PermanentError
from domain.filetypes import HEAD_BYTES, FileType, describe, find_type
from domain.ids import new_id
from domain.intake import Upload, adopt_document, stored_blob, uploaded_document
from domain.jobs import Lease
from domain.media import MediaFile, MediaKind, NewMedia, thumbnail_recipe
from domain.media_processing import PART_BYTES, ConfirmMedia, MediaReceipt, add_media, stored_media, unheard
from domain.ports import BlobStore, Transactions, Unit


@dataclass(frozen=True, slots=True)
class RoutingReport:
    """What a file turned out to be. `thumbnail_id`: the picture that was ordered of it."""

    skipped: bool = False
    media_type: str = ""
    document_id: UUID | None = None
    thumbnail_id: UUID | None = None


def receive_file(
    workspace_id: UUID,
    name: str,
    content: Iterable[bytes],
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    confirm: ConfirmMedia = unheard,
) -> MediaReceipt:
    """Store a file of any type and put in the job that looks at it.

    Raises PermanentError (too_large), InvalidJobError (no such workspace), TransientError.
    """
    upload = Upload(content, max_bytes=max_bytes, check_head=lambda _: None)
    with (
        stored_blob(workspace_id, upload, transactions=transactions, blobs=blobs) as key,
        transactions() as unit,
    ):
        return add_media(unit, stored_media(workspace_id, MediaKind.FILE, name, key, upload, media_type=None), confirm)


def receive_stored_file(
    workspace_id: UUID,
    name: str,
    blob_key: str,
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    confirm: ConfirmMedia = unheard,
) -> MediaReceipt:
    """Take a copy of a blob that the workspace has already, as `receive_file` takes what is uploaded.

    Raises PermanentError (blob_missing, too_large), InvalidJobError (not a key of this workspace), TransientError.
    """
    if not is_key_of(workspace_id, blob_key):
        raise InvalidJobError("blob_key names no blob of this workspace")
    with blobs.local_file(blob_key) as file, file.open("rb") as stream:
        content = iter(lambda: stream.read(PART_BYTES), b"")
        return receive_file(
            workspace_id, name, content, transactions=transactions, blobs=blobs, max_bytes=max_bytes, confirm=confirm
        )


def process_file(
    media_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    transactions: Transactions,
    blobs: BlobStore,
    image_max_bytes: int,
) -> RoutingReport:
    """Make a file what its content says: a document that is read and indexed, or a picture with a thumbnail.

    One transaction routes it and ends the job, so that a second delivery finds nothing to do.

    Raises PermanentError (unsupported_type, too_large), TransientError, LeaseLostError.
    """
    with transactions(lease) as unit:
        media = unit.media.start(media_id, workspace_id, lease.job_id)
        if media is None or media.source_key is None:
            unit.jobs.finish()
            return RoutingReport(skipped=True)
    with blobs.local_file(media.source_key) as file:
        file_type = _type_of(file)
        if file_type is not FileType.PDF and file.stat().st_size > image_max_bytes:
            raise PermanentError(FailureCode.TOO_LARGE, f"The image is larger than {image_max_bytes:,} bytes.")
    with transactions(lease) as unit:
        report = _as_document(unit, media) if file_type is FileType.PDF else _as_image(unit, media, file_type)
        unit.jobs.finish()
    return report


def _type_of(file: Path) -> FileType:
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    file_type = find_type(head)
    if file_type is None:
        raise PermanentError(
            FailureCode.UNSUPPORTED_TYPE,
            f"The file is {describe(head)}, whatever its name says. Upload a PDF, or an image: JPEG, PNG, WebP, GIF, "
            "AVIF or TIFF.",
        )
    return file_type


def _as_document(unit: Unit, media: MediaFile) -> RoutingReport:
    """Hand the blob to a document, unless the workspace has these bytes as one already."""
    document = uploaded_document(
        media.workspace_id,
        media.name,
        media.source_key or "",
        content_sha256=media.content_sha256 or b"",
        byte_count=media.byte_count or 0,
    )
    receipt = adopt_document(unit, document)
    unit.media.become(media, media_type=FileType.PDF, document_id=receipt.document_id)
    return RoutingReport(media_type=FileType.PDF, document_id=receipt.document_id)


def _as_image(unit: Unit, media: MediaFile, file_type: FileType) -> RoutingReport:
    unit.media.become(media, media_type=file_type)
    thumbnail = NewMedia(
        id=new_id(),
        workspace_id=media.workspace_id,
        kind=MediaKind.THUMBNAIL,
        name=media.name,
        job_id=new_id(),
        recipe=thumbnail_recipe(),
        source_media_id=media.id,
    )
    add_media(unit, thumbnail)
    return RoutingReport(media_type=file_type, thumbnail_id=thumbnail.id)
