"""What the fork server does once, so that no child has to: import the parser and use it."""

import gc
import importlib.util
import sys
from typing import Any

from adapters.pdf import child  # noqa: F401 - each child would read and run it anew
from adapters.pdf.protocol import Order

SAMPLE_PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</A 5 0 R/B 6 0 R>>>>>>endobj
4 0 obj<</Length 75>>stream
BT /A 12 Tf 20 70 Td (mill) Tj 0 -20 Td /B 12 Tf 0 0 0 1 k <00480049> Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
6 0 obj<</Type/Font/Subtype/Type0/BaseFont/Wheel/Encoding/Identity-H/DescendantFonts[7 0 R]>>endobj
7 0 obj<</Type/Font/Subtype/CIDFontType2/BaseFont/Wheel/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)
/Supplement 0>>/FontDescriptor<</Type/FontDescriptor/FontName/Wheel/Flags 4>>>>endobj
trailer<</Root 1 0 R>>
"""

#: Turns an order's bytes back into the order, in the child.
decode_order = Order.decode

#: While the sample stays open, FreeType stays initialised.
_KEPT: list[Any] = []


def warm_up() -> None:
    """Load the parser and read a page with it, once a process."""
    import_bare_package()
    _KEPT.append(read_sample())
    # What lives now lives for ever: a collector that looked at it would copy the memory that children share.
    gc.collect()
    gc.freeze()


def import_bare_package() -> None:
    """Put PyMuPDF's package in place without running it: its own classes are most of its time and memory."""
    spec = importlib.util.find_spec("pymupdf")
    if spec is None:
        raise ImportError("PyMuPDF is not installed")
    sys.modules.setdefault("pymupdf", importlib.util.module_from_spec(spec))


def read_sample() -> Any:
    """Read a page with a font of each sort."""
    from adapters.pdf import document, mupdf  # noqa: PLC0415 - now, when PyMuPDF's package is bare
    from adapters.pdf.damage import DamageFinder  # noqa: PLC0415

    mupdf.reinit_singlethreaded()
    document.prepare_mupdf()
    stream = mupdf.fz_open_memory(SAMPLE_PDF)
    sample = mupdf.fz_open_document_with_stream("pdf", stream)
    document.read_page(sample, 1, DamageFinder(sample, SAMPLE_PDF))
    return sample
