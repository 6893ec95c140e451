"""From a file's bytes to frames that stand upright in sRGB. Runs in the picture child alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from adapters.images.cleanliness import is_bare
from adapters.images.colours import in_srgb
from adapters.images.protocol import Limits, Refusal
from adapters.images.refusal import RefusedError
from adapters.sandbox.confinement import close_the_door
from domain.filetypes import HEAD_BYTES, IMAGES, find_type
from domain.media import Fit, Format, Op, Recipe

T = TypeVar("T")

#: The only decoders that ever see a file. An MPO is a JPEG to them, with more pictures behind the first.
DECODERS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF")
FORMATS: Mapping[str, Format] = {"MPO": Format.JPEG} | {written.upper(): written for written in Format}

ORIENTATION = 0x0112
#: EXIF 2.32, table 4.6.4: how a picture must be turned to stand upright.
TURNS: Mapping[int, Transpose] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

#: A picture is read at no less than twice the size that it will have: from there on nobody sees a difference.
OVERSAMPLING = 2
#: Modes whose pixels may be averaged as they are.
AVERAGEABLE = frozenset({"L", "RGB", "CMYK"})


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, of mode L, LA, RGB or RGBA, without any metadata."""

    image: Image.Image
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A decoded file. `is_clean`: its bytes hold nothing but the picture, upright and in sRGB, and it was all read."""

    frames: list[Frame]
    content: bytes
    format: Format | None
    is_clean: bool = False
    loop: int = 0


def decode(content: bytes, recipe: Recipe, limits: Limits) -> Source:
    """Decode an image, all of it that the recipe keeps. Raises RefusedError, MemoryError."""
    close_the_door()
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and an error rather than a warning
    image = _guarded(lambda: _open(content))
    if image is None:
        is_one = find_type(content[:HEAD_BYTES]) in IMAGES
        raise RefusedError(Refusal.DAMAGED if is_one else Refusal.NOT_AN_IMAGE)
    _check_pixels(image.width * image.height, limits)
    written = recipe.format or FORMATS.get(image.format or "")
    is_animated = recipe.animated and written is not Format.JPEG and image.format in FORMATS  # a TIFF has pages
    count = _guarded(lambda: int(getattr(image, "n_frames", 1)))
    kept = count if is_animated else 1
    if kept > limits.frames:
        raise RefusedError(Refusal.TOO_MANY_FRAMES, found=kept, allowed=limits.frames)
    _check_pixels(image.width * image.height * kept, limits)
    is_clean = kept == count and _is_clean(image, content)
    side = longest_side(recipe)
    if side and not is_animated:
        _guarded(lambda: image.draft(None, (side * OVERSAMPLING, side * OVERSAMPLING)))
    frames = [_guarded(lambda number=number: _read_frame(image, number, side)) for number in range(kept)]  # type: ignore[misc]
    loop = image.info.get("loop", 0)
    return Source(frames, content, _format_of(image), is_clean, loop if isinstance(loop, int) and loop >= 0 else 0)


def _format_of(image: Image.Image) -> Format | None:
    """Name the format that the picture is written in unless another is asked for."""
    if image.mode == "1":
        return Format.PNG  # scans of paper: no other format of ours holds single bits
    return FORMATS.get(image.format or "")


def _open(content: bytes) -> Image.Image | None:
    try:
        return Image.open(BytesIO(content), formats=DECODERS)
    except UnidentifiedImageError:
        return None


def _read_frame(image: Image.Image, number: int, side: int) -> Frame:
    if number:
        image.seek(number)
    image.load()
    profile = image.info.get("icc_profile")
    orientation = _orientation(image)
    milliseconds = image.info.get("duration", 0)
    shrunk = _shrink(image, side)
    settled = in_srgb(shrunk, profile if isinstance(profile, bytes) else None)
    if orientation in TURNS:
        settled = settled.transpose(TURNS[orientation])
    if settled is image:
        settled = settled.copy()
    settled.info = {}
    return Frame(settled, round(milliseconds) if isinstance(milliseconds, (int, float)) else 0)


def _orientation(image: Image.Image) -> int:
    """Return how the camera was held; broken EXIF says nothing. Pillow has turned a TIFF already, and says so."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever its parser makes of a stranger's bytes
        return 1
    return value if isinstance(value, int) else 1


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Average whole blocks of pixels, which is fast, as far as the size that is asked for allows."""
    factor = min(image.size) // (side * OVERSAMPLING) if side else 1
    return image.reduce(factor) if factor > 1 and image.mode in AVERAGEABLE else image


def longest_side(recipe: Recipe) -> int:
    """Return the side that the picture is first of all brought down to; 0 when it is not."""
    first = recipe.operations[0] if recipe.operations else None
    if first is None or first["op"] != Op.RESIZE or first["fit"] == Fit.STRETCH:
        return 0
    return int(max(first["width"], first["height"]))


def _is_clean(image: Image.Image, content: bytes) -> bool:
    return _orientation(image) == 1 and is_bare(image, FORMATS.get(image.format or ""), content)


def _check_pixels(found: int, limits: Limits) -> None:
    if found > limits.pixels:
        raise RefusedError(Refusal.TOO_MANY_PIXELS, found=found, allowed=limits.pixels)


def _guarded(step: Callable[[], T]) -> T:
    """Run a step of a decoder: whatever it raises is the file's damage, except for a lack of memory."""
    try:
        return step()
    except (MemoryError, RefusedError):
        raise
    except Exception as error:
        raise RefusedError(Refusal.DAMAGED) from error
