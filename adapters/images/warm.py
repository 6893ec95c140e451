"""What the fork server does once, so that no child has to: import Pillow and use every part of it."""

import gc
import warnings
from io import BytesIO
from typing import Any

from adapters.images import child  # noqa: F401 - each child would read and run it anew
from adapters.images.protocol import Order

#: Turns an order's bytes back into the order, in the child.
decode_order = Order.decode


def warm_up() -> None:
    """Load Pillow with all that it loads late, once a process: children can open no file any more."""
    warnings.simplefilter("ignore")  # about strangers' files
    from PIL import AvifImagePlugin, Image  # noqa: PLC0415

    from adapters.images import making  # noqa: F401, PLC0415
    from adapters.images.colours import srgb  # noqa: PLC0415

    Image.init()
    # A codec's threads take address space, and one child is to use one core.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    srgb()
    for name in ("JPEG", "PNG", "GIF", "TIFF"):  # not WebP and AVIF: whatever threads they start do not survive a fork
        _try_out(Image, name)
    gc.collect()
    gc.freeze()


def _try_out(images: Any, name: str) -> None:
    file = BytesIO()
    images.new("RGB", (8, 8)).save(file, format=name)
    with images.open(file) as image:
        image.getexif()
        image.load()
