"""Any picture in sRGB, 8 bits a channel. Runs in the picture child alone."""

from functools import cache
from io import BytesIO

from PIL import Image, ImageCms

#: Modes that every encoder of ours takes.
SETTLED = frozenset({"L", "LA", "RGB", "RGBA"})

#: A profile that calls itself so need not be converted.
SRGB_PREFIX = "sRGB"

#: Sixteen bits to eight.
_FROM_16_BITS = 255 / 65535


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture with its colours as every screen shows them."""
    plain = _unpacked(image)
    converted = _converted(plain, profile) if profile else None
    if converted is None:
        converted = _from_lab(plain) if plain.mode == "LAB" else plain
    if converted.mode not in SETTLED:
        converted = converted.convert("RGB")
    return converted


def _unpacked(image: Image.Image) -> Image.Image:
    """Resolve palettes, bits, transparent colours and deep pixels."""
    mode = image.mode
    if mode in ("P", "PA") or (mode in ("L", "RGB") and "transparency" in image.info):
        has_alpha = mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if has_alpha else "RGB")
    if mode == "1":
        return image.convert("L")
    if mode in ("RGBa", "La"):
        return image.convert("RGBA" if mode == "RGBa" else "LA")
    if mode.startswith("I") or mode == "F":
        return _to_8_bits(image if mode in ("I", "F") else image.convert("I"))
    return image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to eight; whatever goes beyond, or below zero, by the range that is there."""
    low, high = (float(each) for each in image.getextrema())  # type: ignore[arg-type]
    if low >= 0 and 255 < high <= 65535:
        low, scale = 0.0, _FROM_16_BITS
    elif low >= 0 and high <= 255:
        low, scale = 0.0, 1.0
    else:
        scale = 255 / (high - low)
    return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert from the picture's own profile; None when that cannot be used for these pixels."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(own).startswith(SRGB_PREFIX):
            return None
        has_alpha = image.mode in ("LA", "RGBA")
        source = image.convert("RGBA") if image.mode == "LA" else image
        target = "RGBA" if has_alpha else "RGB"
        return ImageCms.profileToProfile(source, own, srgb(), outputMode=target)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _from_lab(image: Image.Image) -> Image.Image:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.profileToProfile(image, lab, srgb(), outputMode="RGB") or image


@cache
def srgb() -> ImageCms.ImageCmsProfile:
    """Return the profile that everything is converted to."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
