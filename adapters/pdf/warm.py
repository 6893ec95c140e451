"""What the fork server does once, so that no child has to: import the parser and use it.

Importing this module does it, for multiprocessing's fork server runs nothing else.
"""

# PyMuPDF ships a py.typed marker, but its methods carry no types.
# mypy: allow-untyped-calls

import gc

import pymupdf

from adapters.pdf import (
    document,
    sandbox,  # noqa: F401 - children find their task there
)

document.silence_mupdf()


def read_sample() -> pymupdf.Document:
    """Read a page that uses fonts of every kind; while it stays open, FreeType stays initialised."""
    sample = pymupdf.open()
    page = sample.new_page()
    page.insert_text((72, 72), "Warm: 1", fontname="helv")
    page.insert_font("F0", fontbuffer=pymupdf.Font("helv").buffer)
    page.insert_text((72, 144), "Warm: 2", fontname="F0")
    sample = pymupdf.open("pdf", sample.tobytes(deflate=True))
    sample[0].get_text("text", flags=document.TEXT_FLAGS)
    return sample


SAMPLE = read_sample()

# What lives now lives for ever: a collector that looked at it would copy the memory that children share.
gc.collect()
gc.freeze()
