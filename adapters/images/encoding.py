"""From frames to bytes that hold the picture and nothing else. Runs in the picture child alone."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image

from adapters.images.decoding import Frame
from domain.media import Format

#: What transparent pixels become where a format has none.
BACKGROUND = (255, 255, 255)

#: A frame without a duration is shown for this long: what browsers make of such GIFs.
FRAME_MILLISECONDS = 100

#: PNG and GIF have no quality: below this one it gets a palette, the smaller the lower.
LOSSLESS_QUALITY = 60


def encode(frames: Sequence[Frame], written: Format, quality: int, loop: int) -> bytes:
    """Encode frames. Frames carry no metadata, so the result has none."""
    images = [_fit_for(frame.image, written, quality) for frame in frames]
    options = _options(written, quality)
    if len(images) > 1:
        options |= {
            "save_all": True,
            "append_images": images[1:],
            "duration": [frame.milliseconds or FRAME_MILLISECONDS for frame in frames],
        }
        if written is not Format.AVIF:
            options["loop"] = loop
        if written is Format.GIF:
            options["disposal"] = 2
    result = BytesIO()
    images[0].save(result, format=written.upper(), **options)
    return result.getvalue()


def _options(written: Format, quality: int) -> dict[str, Any]:
    match written:
        case Format.JPEG:
            return {"quality": min(quality, 95), "optimize": True, "progressive": True}  # above: larger, not better
        case Format.PNG | Format.GIF:
            return {"optimize": True}
        case Format.WEBP:
            return {"quality": quality, "method": 4}
        case Format.AVIF:
            return {"quality": quality, "speed": 8, "max_threads": 1}


def _fit_for(image: Image.Image, written: Format, quality: int) -> Image.Image:
    """Return the picture in a mode that the format can hold."""
    has_alpha = image.mode in ("LA", "RGBA")
    if written is Format.JPEG:
        return _flattened(image) if has_alpha else image
    if written is Format.PNG:
        if image.mode == "L" and image.getcolors(2) and image.getextrema() == (0, 255):
            return image.convert("1")
        return image if quality >= LOSSLESS_QUALITY else _reduced(image, quality)
    if written is Format.GIF:
        wide = image.convert("RGBA" if has_alpha else "RGB")
        return wide if quality >= LOSSLESS_QUALITY else _reduced(wide, quality)
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if has_alpha else "RGB")


def _reduced(image: Image.Image, quality: int) -> Image.Image:
    """Give the picture a palette, the smaller the lower the quality."""
    colours = max(8, 256 * quality // LOSSLESS_QUALITY)
    if image.mode == "L":
        return image
    wide = image.convert("RGBA" if image.mode == "LA" else image.mode)
    method = Image.Quantize.FASTOCTREE if wide.mode == "RGBA" else Image.Quantize.MEDIANCUT
    return wide.quantize(min(colours, 256), method=method, dither=Image.Dither.NONE)


def _flattened(image: Image.Image) -> Image.Image:
    wide = image.convert("RGBA")
    ground = Image.new("RGB", wide.size, BACKGROUND)
    ground.paste(wide, mask=wide.getchannel("A"))
    return ground
