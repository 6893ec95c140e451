"""What a file is, by its first bytes: names and declared types are a stranger's claims."""

from enum import StrEnum

#: So much of a file's beginning is looked at: a PDF may say so anywhere within it (ISO 32000-1, annex H, note 13).
HEAD_BYTES = 1024


class FileType(StrEnum):
    """Kinds of files that Headrace takes, by their media type."""

    PDF = "application/pdf"
    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    GIF = "image/gif"
    AVIF = "image/avif"
    TIFF = "image/tiff"


IMAGES = frozenset(FileType) - {FileType.PDF}

_BEGINNINGS: tuple[tuple[bytes, FileType], ...] = (
    (b"\xff\xd8\xff", FileType.JPEG),
    (b"\x89PNG\r\n\x1a\n", FileType.PNG),
    (b"GIF87a", FileType.GIF),
    (b"GIF89a", FileType.GIF),
    (b"II*\0", FileType.TIFF),
    (b"MM\0*", FileType.TIFF),
    (b"II+\0", FileType.TIFF),
    (b"MM\0+", FileType.TIFF),
)

#: What people upload instead, so that a refusal can say what it is.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"<?xml", "an XML file"),
    (b"<svg", "an SVG drawing"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"%!PS", "a PostScript file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"BM", "a BMP image"),
)


def find_type(head: bytes) -> FileType | None:
    """Name the type of a file that begins like this; None for one that Headrace does not take."""
    for beginning, file_type in _BEGINNINGS:
        if head.startswith(beginning):
            return file_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return FileType.WEBP
    if head[4:8] == b"ftyp" and _is_avif(head):
        return FileType.AVIF
    return FileType.PDF if b"%PDF-" in head[:HEAD_BYTES] else None


def _is_avif(head: bytes) -> bool:
    """Look for the brand among those that the file names (ISO/IEC 14496-12, 4.3)."""
    box = head[8 : min(int.from_bytes(head[:4], "big"), len(head))]
    brands = {box[start : start + 4] for start in range(0, len(box), 4) if start != 4}  # bytes 4 to 8: a version
    return not brands.isdisjoint({b"avif", b"avis"})


def describe(head: bytes) -> str:
    """Say what an unknown file seems to be."""
    begun = head.lstrip()
    for beginning, name in _STRANGERS:
        if begun[: len(beginning)].lower() == beginning.lower():
            return name
    if head[4:8] == b"ftyp":
        return "a video or a HEIC photo"
    return "a file of an unknown kind" if head else "an empty file"
