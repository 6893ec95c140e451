"""Order pictures, make them, take uploads of them, delete them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from domain.crash_points import crash_point
from domain.errors import FailureCode, PermanentError
from domain.filetypes import IMAGES, FileType, describe, find_type
from domain.ids import new_id
from domain.intake import AT_ONCE, Upload, clean_name, stored_blob
from domain.jobs import Lease
from domain.media import JOB_OF_KIND, MediaFile, MediaKind, NewMedia, Picture, PictureMaker, Recipe
from domain.ports import BlobStore, Transactions, Unit

#: What a store takes at a time.
PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaReceipt:
    """What became of an order or an upload; `job_id`: the job that it started."""

    media_id: UUID
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What one job made. `skipped`: it was gone, done, or another job's. `source_bytes`: of what it was made of."""

    kind: str = ""
    skipped: bool = False
    source_bytes: int = 0
    result_bytes: int = 0
    format: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    unchanged: bool = False


#: Called with the outcome inside the transaction that makes it true, last.
ConfirmMedia = Callable[[MediaReceipt], None]


def unheard(_: object) -> None:
    """Confirm to nobody."""


def make_picture(
    media_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    transactions: Transactions,
    blobs: BlobStore,
    maker: PictureMaker,
) -> MediaReport:
    """Make an ordered picture; the transaction that lets it be seen ends the job.

    A second delivery makes it again, under another key, unless the first one has published it. What an attempt stored
    and did not publish is swept.

    Raises PermanentError for files that cannot be used, TransientError, LeaseLostError.
    """

    def still_wanted() -> None:
        with transactions(lease):
            lease.checkpoint()

    with transactions(lease) as unit:
        media = unit.media.start(media_id, workspace_id, lease.job_id)
        if media is None:
            unit.jobs.finish()
            return MediaReport(skipped=True)
    with blobs.local_file(_source_of(media)) as file:
        source_bytes = file.stat().st_size
        picture = maker.make(file, media.recipe or Recipe(), still_wanted=still_wanted)
    content = picture.content
    with (
        stored_blob(workspace_id, _parts(content), transactions=transactions, blobs=blobs) as key,
        transactions(lease) as unit,
    ):
        crash_point("before_picture_is_published")
        if unit.media.publish(media, picture, key, sha256(content).digest()):
            unit.blobs.own(key)
        else:
            unit.blobs.disown(key, after=AT_ONCE)
        unit.jobs.finish()
    return _report(media, picture, source_bytes)


def receive_media(
    workspace_id: UUID,
    name: str,
    content: Iterable[bytes],
    *,
    transactions: Transactions,
    blobs: BlobStore,
    max_bytes: int,
    confirm: ConfirmMedia = unheard,
) -> MediaReceipt:
    """Store an image as it is; it is decoded only when something is made of it.

    Raises PermanentError (too_large, not_an_image), InvalidJobError (no such workspace), TransientError.
    """
    found: list[FileType] = []
    upload = Upload(content, max_bytes=max_bytes, check_head=lambda head: found.append(require_image(head)))
    with (
        stored_blob(workspace_id, upload, transactions=transactions, blobs=blobs) as key,
        transactions() as unit,
    ):
        media = stored_media(workspace_id, MediaKind.UPLOAD, name, key, upload, media_type=found[0])
        return add_media(unit, media, confirm)


def order_picture(
    workspace_id: UUID,
    kind: MediaKind,
    recipe: Recipe,
    *,
    transactions: Transactions,
    media_id: UUID | None = None,
    document_id: UUID | None = None,
    confirm: ConfirmMedia = unheard,
) -> MediaReceipt | None:
    """Put in the job that makes a picture of an uploaded one or of a document's page; None without such a source."""
    with transactions() as unit:
        name = unit.media.find_source(workspace_id, media_id, document_id)
        if name is None:
            return None
        media = NewMedia(
            id=new_id(),
            workspace_id=workspace_id,
            kind=kind,
            name=name,
            job_id=new_id(),
            recipe=recipe,
            source_media_id=media_id,
            source_document_id=document_id,
        )
        return add_media(unit, media, confirm)


def delete_media(media_id: UUID, workspace_id: UUID, *, transactions: Transactions, blobs: BlobStore) -> bool:
    """Delete a picture and stop the job that makes it; False when the workspace has none. What was made of it stays."""
    with transactions() as unit:
        is_found, blob_key = unit.media.delete(media_id, workspace_id)
        if blob_key is not None:
            unit.blobs.disown(blob_key, after=AT_ONCE)
    if blob_key is not None:
        blobs.delete(blob_key)  # at once for the user's sake; the sweeper would do it in a few minutes
    return is_found


def require_image(head: bytes) -> FileType:
    """Return the type of an image that begins like this. Raises PermanentError (not_an_image)."""
    file_type = find_type(head)
    if file_type is not None and file_type in IMAGES:
        return file_type
    seems = "a PDF" if file_type is FileType.PDF else describe(head)
    raise PermanentError(
        FailureCode.NOT_AN_IMAGE,
        f"The file is not an image that can be read but {seems}, whatever its name says. "
        "Upload a JPEG, PNG, WebP, GIF, AVIF or TIFF.",
    )


def stored_media(
    workspace_id: UUID, kind: MediaKind, name: str, blob_key: str, upload: Upload, *, media_type: str | None
) -> NewMedia:
    """Describe stored bytes as the row that is to own them; a `file` gets the job that looks at it."""
    return NewMedia(
        id=new_id(),
        workspace_id=workspace_id,
        kind=kind,
        name=clean_name(name) or "file",
        job_id=new_id() if kind is MediaKind.FILE else None,
        blob_key=blob_key,
        content_sha256=upload.sha256,
        byte_count=upload.byte_count,
        media_type=media_type,
    )


def add_media(unit: Unit, media: NewMedia, confirm: ConfirmMedia = unheard) -> MediaReceipt:
    """Insert a row with its job inside the caller's transaction, and let it own its bytes."""
    unit.media.add(media)
    if media.blob_key is not None:
        unit.blobs.own(media.blob_key)
    receipt = MediaReceipt(media.id, media.job_id)
    confirm(receipt)
    return receipt


def _source_of(media: MediaFile) -> str:
    if media.source_key is None:
        raise PermanentError(
            FailureCode.MEDIA_MISSING,
            f"What {JOB_OF_KIND[media.kind]} was to be done with has been deleted. Upload it again and start over.",
        )
    return media.source_key


def _parts(content: bytes) -> Iterator[bytes]:
    view = memoryview(content)
    for start in range(0, len(content), PART_BYTES):
        yield bytes(view[start : start + PART_BYTES])


def _report(media: MediaFile, picture: Picture, source_bytes: int) -> MediaReport:
    return MediaReport(
        kind=media.kind,
        source_bytes=source_bytes,
        result_bytes=len(picture.content),
        format=picture.format,
        width=picture.width,
        height=picture.height,
        frames=picture.frames,
        unchanged=picture.unchanged,
    )
