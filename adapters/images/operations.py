"""What a recipe does to a frame. Runs in the picture child alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageOps
from PIL.Image import Resampling, Transpose

from adapters.images.protocol import Limits, Refusal
from adapters.images.refusal import RefusedError
from domain.media import Fit, Op

_TURNS = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}  # Pillow turns to the left
_FLIPS = {"horizontal": Transpose.FLIP_LEFT_RIGHT, "vertical": Transpose.FLIP_TOP_BOTTOM}


def apply(image: Image.Image, operations: Sequence[Mapping[str, Any]], limits: Limits) -> Image.Image:
    """Carry out operations in order. Raises RefusedError."""
    for operation in operations:
        image = _apply(image, operation, limits)
    return image


def scale(image: Image.Image, factor: float) -> Image.Image:
    """Make a picture smaller by a factor."""
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Resampling.LANCZOS)


def _apply(image: Image.Image, operation: Mapping[str, Any], limits: Limits) -> Image.Image:
    match operation["op"]:
        case Op.RESIZE:
            return _resize(image, operation["width"], operation["height"], operation["fit"], limits)
        case Op.CROP:
            return _crop(image, operation["left"], operation["top"], operation["width"], operation["height"])
        case Op.ROTATE:
            return image.transpose(_TURNS[operation["degrees"]])
        case Op.FLIP:
            return image.transpose(_FLIPS[operation["axis"]])
        case _:
            return image.convert("LA" if image.mode in ("LA", "RGBA") else "L")


def _resize(image: Image.Image, width: int, height: int, fit: str, limits: Limits) -> Image.Image:
    if fit == Fit.INSIDE:
        factor = min(width / image.width, height / image.height)
        return scale(image, factor) if factor < 1 else image
    if width * height > limits.pixels:
        raise RefusedError(Refusal.TOO_MANY_PIXELS, found=width * height, allowed=limits.pixels)
    if fit == Fit.COVER:
        return ImageOps.fit(image, (width, height), Resampling.LANCZOS)
    return image.resize((width, height), Resampling.LANCZOS)


def _crop(image: Image.Image, left: int, top: int, width: int, height: int) -> Image.Image:
    if left + width > image.width or top + height > image.height:
        raise RefusedError(Refusal.OUTSIDE, found=image.width, allowed=image.height)
    return image.crop((left, top, left + width, top + height))
