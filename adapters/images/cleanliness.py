"""Whether a file's bytes hold its picture and nothing else. Runs in the picture child alone.

Whatever is not known to be harmless is not: such a file is written anew rather than kept.
"""

from typing import Any

from domain.media import Format

#: What Pillow tells of a file that says nothing about people, places or devices.
HARMLESS = frozenset({
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "adobe", "adobe_transform", "version", "background",
    "transparency", "duration", "extension", "loop", "timestamp", "gamma", "progressive", "progression", "interlace",
    "srgb", "default_image", "blend", "disposal", "bbox", "compression", "aspect",
})  # fmt: skip

#: Chunks that a PNG needs to be shown (PNG, third edition, clause 11).
PNG_CHUNKS = frozenset({
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"bKGD", b"pHYs", b"sBIT",
    b"acTL", b"fcTL", b"fdAT",
})  # fmt: skip

#: Segments that a JPEG needs to be shown: JFIF, and Adobe's word on its colours.
JPEG_SEGMENTS = frozenset({"APP0", "APP14"})

_LOOP = b"!\xff\x0bNETSCAPE2.0"


def is_bare(image: Any, written: Format | None, content: bytes) -> bool:
    """Tell whether an opened file is nothing but its picture, up to its end."""
    if not image.info.keys() <= HARMLESS:
        return False
    match written:
        case Format.JPEG:
            return {name for name, _ in image.applist} <= JPEG_SEGMENTS and content.endswith(b"\xff\xd9")
        case Format.PNG:
            return _has_plain_chunks(content)
        case Format.GIF:
            return content.count(_LOOP[:3]) == content.count(_LOOP) and content.endswith(b";")
        case Format.WEBP:
            return int.from_bytes(content[4:8], "little") + 8 == len(content)
        case _:
            return written is Format.AVIF


def _has_plain_chunks(content: bytes) -> bool:
    place = 8
    while place + 12 <= len(content):
        kind = content[place + 4 : place + 8]
        if kind not in PNG_CHUNKS:
            return False
        place += int.from_bytes(content[place : place + 4], "big") + 12
        if kind == b"IEND":
            return place == len(content)
    return False
