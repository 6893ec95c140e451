"""Makes one picture, from the file to the encoded result. Runs in the picture child alone."""

from pathlib import Path

from adapters.images import decoding, encoding, operations
from adapters.images.decoding import Frame, Source
from adapters.images.protocol import Limits, Made, Order, Refusal, Refused
from adapters.images.refusal import RefusedError
from domain.filetypes import HEAD_BYTES, FileType, find_type
from domain.media import Format, Recipe

#: A result that is too large even at the lowest quality is made smaller, at most so often.
SHRINK_STEPS = 12
LOWEST_QUALITY = 10
SMALLEST_SIDE = 16


def make_picture(order: Order) -> tuple[Made, bytes] | Refused:
    """Carry out an order. Raises MemoryError."""
    try:
        content = _read(order.file)
    except OSError:
        return Refused(Refusal.UNREADABLE)
    try:
        source = _read_page(order) if content is None else decoding.decode(content, order.recipe, order.limits)
        return _finish(source, order.recipe, order.limits)
    except RefusedError as refusal:
        return refusal.refused


def _read(file: str) -> bytes | None:
    """Return the bytes of an image; None for a PDF, whose reader takes what it needs from the file. Raises OSError."""
    with Path(file).open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        return None if find_type(head) is FileType.PDF else head + stream.read()


def _read_page(order: Order) -> Source:
    from adapters.images.pages import render_page  # noqa: PLC0415 - MuPDF takes 40 MB and a third of a second

    return render_page(order)


def _finish(source: Source, recipe: Recipe, limits: Limits) -> tuple[Made, bytes]:
    written = recipe.format or source.format or Format.WEBP
    frames = [
        Frame(operations.apply(frame.image, recipe.operations, limits), frame.milliseconds) for frame in source.frames
    ]
    most = min(limits.result_bytes, recipe.max_bytes or limits.result_bytes)
    if recipe.never_larger:
        most = min(most, len(source.content) or most)
    content = encoding.encode(frames, written, recipe.quality, source.loop)
    if len(content) > most:
        frames, content = _within(frames, written, recipe, source, most)
    width, height = frames[0].image.size
    return Made(written, width, height, len(frames), content is source.content, len(content)), content


def _within(
    frames: list[Frame], written: Format, recipe: Recipe, source: Source, most: int
) -> tuple[list[Frame], bytes]:
    """Find the best quality that fits; if none does, keep the source where that fits, else make the picture smaller."""
    content = _best_quality(frames, written, recipe.quality, source.loop, most)
    if content is not None:
        return frames, content
    if source.is_clean and not recipe.operations and written is source.format and len(source.content) <= most:
        return frames, source.content
    smallest = len(source.content)
    for _ in range(SHRINK_STEPS):
        content = encoding.encode(frames, written, LOWEST_QUALITY, source.loop)
        smallest = len(content)
        if smallest <= most:
            return frames, _best_quality(frames, written, recipe.quality, source.loop, most) or content
        scale = min(0.8, (most / smallest) ** 0.5)
        smaller = [Frame(operations.scale(frame.image, scale), frame.milliseconds) for frame in frames]
        if min(smaller[0].image.size) < min(SMALLEST_SIDE, *frames[0].image.size):
            break
        frames = smaller
    raise RefusedError(Refusal.UNREACHABLE, found=smallest, allowed=most)


def _best_quality(frames: list[Frame], written: Format, quality: int, loop: int, most: int) -> bytes | None:
    """Return the picture at the highest quality below `quality` that fits; None when even the lowest does not."""
    best: bytes | None = None
    low, high = min(LOWEST_QUALITY, quality), quality
    while low <= high:
        middle = low if best is None else (low + high + 1) // 2  # the lowest first: often it does not fit at all
        content = encoding.encode(frames, written, middle, loop)
        if len(content) > most:
            if best is None:
                return None
            high = middle - 1
        else:
            best, low = content, middle + 1
    return best
