"""Pictures: what is asked for (a recipe), what comes out, and what is stored of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from domain.errors import InvalidJobError
from domain.filetypes import FileType

#: Longest side that may be asked for, in pixels: the largest that WebP can hold.
LONGEST_SIDE = 16_383
MOST_OPERATIONS = 20
MOST_TARGET_BYTES = 1 << 31
LAST_PAGE = 1_000_000
RIGHT_ANGLES = (90, 180, 270)

THUMBNAIL_SIDE = 256
DEFAULT_QUALITY = 80


class MediaKind(StrEnum):
    """Where a picture comes from. A `file` has not been looked at yet."""

    FILE = "file"
    UPLOAD = "upload"
    THUMBNAIL = "thumbnail"
    OPTIMIZED = "optimized"
    PROCESSED = "processed"


#: The job that makes each kind.
JOB_OF_KIND: Mapping[MediaKind, str] = {
    MediaKind.FILE: "process_file",
    MediaKind.THUMBNAIL: "generate_thumbnail",
    MediaKind.OPTIMIZED: "optimize_image",
    MediaKind.PROCESSED: "process_media",
}


class MediaState(StrEnum):
    """`pending`: a job is to make it."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class Format(StrEnum):
    """What pictures are written in."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    AVIF = "avif"

    @property
    def media_type(self) -> FileType:
        """Return the media type."""
        return FileType(f"image/{self}")


class Op(StrEnum):
    """What may be done to a picture. Sizes are in pixels, after the picture has been turned as its camera says."""

    RESIZE = "resize"
    CROP = "crop"
    ROTATE = "rotate"
    FLIP = "flip"
    GRAYSCALE = "grayscale"


class Fit(StrEnum):
    """How a picture meets a size: `inside` it, covering it with the rest cut off, or bent to it."""

    INSIDE = "inside"
    COVER = "cover"
    STRETCH = "stretch"


#: Integer arguments of each operation: smallest and largest value. Those with a smallest of 0 may be left out.
_ARGUMENTS: Mapping[Op, Mapping[str, tuple[int, int]]] = {
    Op.RESIZE: {"width": (1, LONGEST_SIDE), "height": (1, LONGEST_SIDE)},
    Op.CROP: {
        "left": (0, LONGEST_SIDE),
        "top": (0, LONGEST_SIDE),
        "width": (1, LONGEST_SIDE),
        "height": (1, LONGEST_SIDE),
    },
    Op.ROTATE: {"degrees": (90, 270)},
    Op.FLIP: {},
    Op.GRAYSCALE: {},
}
_WORDS: Mapping[Op, Mapping[str, tuple[str, ...]]] = {
    Op.RESIZE: {"fit": tuple(Fit)},
    Op.FLIP: {"axis": ("horizontal", "vertical")},
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be made. Metadata never passes, orientation and colours are always settled.

    `operations`: in order, each `{"op": …, arguments}`. `format`: None keeps the source's, WebP for what cannot be
    written. `quality`: 1 to 100, of lossy formats. `max_bytes`: the result is made worse, then smaller, until it fits.
    `animated`: keep every frame, if source and format can. `page`: of a PDF. `never_larger`: than the source, in bytes.
    """

    operations: tuple[Mapping[str, Any], ...] = ()
    format: Format | None = None
    quality: int = DEFAULT_QUALITY
    max_bytes: int | None = None
    animated: bool = False
    page: int = 1
    never_larger: bool = False

    def as_json(self) -> dict[str, Any]:
        """Write it down; `parse_recipe` reads it."""
        return asdict(self) | {"operations": [dict(each) for each in self.operations]}


def parse_recipe(written: Mapping[str, Any]) -> Recipe:
    """Read a recipe and check every part of it. Raises InvalidJobError naming the fault."""
    if unknown := sorted(written.keys() - set(Recipe.__slots__)):
        raise InvalidJobError(f"a recipe has no {', '.join(map(str, unknown))[:100]}")
    operations = written.get("operations", ())
    if not isinstance(operations, (list, tuple)) or len(operations) > MOST_OPERATIONS:
        raise InvalidJobError(f"operations must be a list of at most {MOST_OPERATIONS}")
    most = written.get("max_bytes")
    wanted = written.get("format")
    return Recipe(
        operations=tuple(_parse_operation(each) for each in operations),
        format=None if wanted is None else Format(_word("format", wanted, tuple(Format))),
        quality=_number("quality", written.get("quality", DEFAULT_QUALITY), 1, 100),
        max_bytes=None if most is None else _number("max_bytes", most, 1, MOST_TARGET_BYTES),
        animated=_flag("animated", written.get("animated", False)),
        page=_number("page", written.get("page", 1), 1, LAST_PAGE),
        never_larger=_flag("never_larger", written.get("never_larger", False)),
    )


def thumbnail_recipe(
    width: int = THUMBNAIL_SIDE,
    height: int = THUMBNAIL_SIDE,
    *,
    fit: str = Fit.INSIDE,
    file_format: str | None = Format.WEBP,
    **more: Any,
) -> Recipe:
    """Ask for a small picture. Raises InvalidJobError."""
    resize = {"op": Op.RESIZE, "width": width, "height": height, "fit": fit}
    return parse_recipe({"operations": [resize], "format": file_format, **more})


def _parse_operation(written: Any) -> Mapping[str, Any]:
    if not isinstance(written, Mapping):
        raise InvalidJobError("an operation must be an object with the member op")
    op = Op(_word("op", written.get("op"), tuple(Op)))
    numbers, words = _ARGUMENTS[op], _WORDS.get(op, {})
    if unknown := sorted(written.keys() - {"op"} - numbers.keys() - words.keys()):
        raise InvalidJobError(f"{op} has no {', '.join(map(str, unknown))[:100]}")
    read: dict[str, Any] = {"op": str(op)}
    for name, (least, most) in numbers.items():
        read[name] = _number(f"{op}.{name}", written.get(name, 0), least, most)
    for name, known in words.items():
        read[name] = _word(f"{op}.{name}", written.get(name, known[0]), known)
    if op is Op.ROTATE and read["degrees"] not in RIGHT_ANGLES:
        raise InvalidJobError("rotate.degrees must be 90, 180 or 270, clockwise")
    return read


def _number(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidJobError(f"{name} must be a whole number from {least} to {most}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidJobError(f"{name} must be true or false")
    return value


def _word(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise InvalidJobError(f"{name} must be one of {', '.join(known)}")
    return value


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture. `unchanged`: it is the source, byte for byte, because nothing smaller could be made."""

    content: bytes
    format: Format
    width: int
    height: int
    frames: int = 1
    unchanged: bool = False


class PictureMaker(Protocol):
    """Makes pictures of files without trusting them."""

    def make(self, file: Path, recipe: Recipe, *, still_wanted: Callable[[], None]) -> Picture:
        """Carry out a recipe. `still_wanted` is called about every second; what it raises stops the work.

        Raises PermanentError: not_an_image, image_damaged, pdf_encrypted, too_large, target_unreachable, parse_timeout,
        parse_memory, parser_crashed; TransientError when the process was stopped from outside.
        """
        ...


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A row of `media_files` as its job sees it.

    `source_key`: the blob it is made of: its own for a `file`, else its source's; None when that is gone.
    """

    id: UUID
    workspace_id: UUID
    kind: MediaKind
    name: str
    source_key: str | None
    recipe: Recipe | None
    content_sha256: bytes | None
    byte_count: int | None


@dataclass(frozen=True, slots=True)
class NewMedia:
    """A row on its way in: bytes that are stored (`blob_key`), or a picture to be made of one of the two sources."""

    id: UUID
    workspace_id: UUID
    kind: MediaKind
    name: str
    job_id: UUID | None = None
    recipe: Recipe | None = None
    source_media_id: UUID | None = None
    source_document_id: UUID | None = None
    blob_key: str | None = None
    content_sha256: bytes | None = None
    byte_count: int | None = None
    media_type: str | None = None


class MediaFiles(Protocol):
    """The media_files table inside one transaction."""

    def add(self, media: NewMedia) -> None:
        """Insert a row and put in its job, if it has one. Raises InvalidJobError when there is no such workspace."""
        ...

    def find_source(self, workspace_id: UUID, media_id: UUID | None, document_id: UUID | None) -> str | None:
        """Return the name of a picture that is ready, or of a live document; None when the workspace has none."""
        ...

    def start(self, media_id: UUID, workspace_id: UUID, job_id: UUID) -> MediaFile | None:
        """Return what is to be made; None when it is gone, done, or another job's."""
        ...

    def publish(self, media: MediaFile, picture: Picture, blob_key: str, content_sha256: bytes) -> bool:
        """Note that a picture is ready, and tell watchers; False when nobody wants it any more."""
        ...

    def become(self, media: MediaFile, *, media_type: str | None = None, document_id: UUID | None = None) -> bool:
        """Note what a file turned out to be: an uploaded picture, or a document; False when nobody wants it any more.

        A document has taken the blob over.
        """
        ...

    def delete(self, media_id: UUID, workspace_id: UUID) -> tuple[bool, str | None]:
        """Remove a row and stop its job; return whether there was one, and its blob key if it had a blob."""
        ...
