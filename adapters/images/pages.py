"""A page of a PDF as a picture. Runs in the picture child alone."""

# PyMuPDF ships a py.typed marker, but its methods carry no types.
# mypy: allow-untyped-calls

from typing import Any

from PIL import Image

from adapters.images.decoding import Frame, Source, longest_side
from adapters.images.protocol import Order, Refusal
from adapters.images.refusal import RefusedError
from adapters.pdf.warm import import_bare_package
from adapters.sandbox.confinement import close_the_door

#: Pixels a point, unless a size is asked for: 144 to the inch.
SCALE = 2.0
#: A page of a few points is not blown up further than this.
MOST_SCALE = 8.0


def render_page(order: Order) -> Source:
    """Draw the page that the recipe names. Raises RefusedError, MemoryError."""
    import_bare_package()
    from pymupdf import mupdf  # noqa: PLC0415 - now, when its package is bare

    _silence(mupdf)
    try:
        document = mupdf.fz_open_document_with_stream("pdf", mupdf.fz_open_file(order.file))
        close_the_door()
        if mupdf.fz_needs_password(document) and not mupdf.fz_authenticate_password(document, ""):
            raise RefusedError(Refusal.PDF_ENCRYPTED)
        count = mupdf.fz_count_pages(document)
        if not count:
            raise RefusedError(Refusal.PDF_DAMAGED)
        if order.recipe.page > count:
            raise RefusedError(Refusal.NO_SUCH_PAGE, found=order.recipe.page, allowed=count)
        return _draw(mupdf, mupdf.fz_load_page(document, order.recipe.page - 1), order)
    except (RefusedError, MemoryError, OSError, ImportError):
        raise
    except Exception as error:
        if "alloc" in str(error) or "memory" in str(error):
            raise MemoryError from error
        raise RefusedError(Refusal.PDF_DAMAGED) from error


def _draw(mupdf: Any, page: Any, order: Order) -> Source:
    box = mupdf.fz_bound_page(page)
    width, height = box.x1 - box.x0, box.y1 - box.y0
    if width <= 0 or height <= 0:
        raise RefusedError(Refusal.PDF_DAMAGED)
    side = longest_side(order.recipe)
    scale = min(MOST_SCALE, side / min(width, height) if side else SCALE)
    scale = min(scale, (order.limits.pixels / (width * height)) ** 0.5)
    pixmap = mupdf.fz_new_pixmap_from_page(page, mupdf.fz_scale(scale, scale), mupdf.fz_device_rgb(), 0)
    size = (mupdf.fz_pixmap_width(pixmap), mupdf.fz_pixmap_height(pixmap))
    samples = bytes(mupdf.fz_pixmap_samples_memoryview(pixmap))
    image = Image.frombytes("RGB", size, samples, "raw", "RGB", mupdf.fz_pixmap_stride(pixmap))
    return Source([Frame(image)], b"", None)


def _silence(mupdf: Any) -> None:
    """Keep what MuPDF says of a file away from the worker's log."""
    mupdf.fz_set_warning_callback(lambda _: None)
    mupdf.fz_set_error_callback(lambda _: None)
