"""What the fork server does once, so that no child has to: import the parser and use it.

Importing this module does it, for multiprocessing's fork server runs nothing else.
"""

# PyMuPDF ships a py.typed marker, but its methods carry no types.
# mypy: allow-untyped-calls

import gc
import io

import pymupdf
from pymupdf import mupdf

from adapters.pdf import (
    document,
    sandbox,  # noqa: F401 - children find their task there
)
from adapters.pdf.damage import DamageFinder

document.prepare_mupdf()


def write_sample() -> bytes:
    """Make a page with a built-in and an embedded font."""
    sample = pymupdf.open()
    page = sample.new_page()
    page.insert_text((72, 72), "Warm.")
    page.insert_font("embedded", fontbuffer=pymupdf.Font("helv").buffer)
    page.insert_text((72, 144), "Warm.", fontname="embedded")
    return bytes(sample.tobytes(deflate=True))


def read_sample(content: bytes) -> mupdf.FzDocument:
    """Read it as a file would be; while it stays open, FreeType stays initialised."""
    sample = mupdf.fz_open_document_with_stream(
        "pdf", mupdf.fz_open_memory(mupdf.python_buffer_data(content), len(content))
    )
    document.read_page(sample, 1, DamageFinder(sample, io.BytesIO(content)))
    return sample


CONTENT = write_sample()
SAMPLE = read_sample(CONTENT)

# What lives now lives for ever: a collector that looked at it would copy the memory that children share.
gc.collect()
gc.freeze()
