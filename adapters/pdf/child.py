"""What runs inside the parser child: confine yourself, then read and tell.

The parent imports this module to name `main`, so it must stay cheap: PyMuPDF (140 MB, 0.7 s) is imported in the child
alone, where the fork server has it preloaded.
"""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

from adapters.pdf.protocol import Finished, Message, Order, Refused, encode
from adapters.sandbox import confinement
from adapters.sandbox.confinement import Alarm
from adapters.sandbox.frames import OUT_OF_MEMORY, send

Parser = Callable[[Order], Iterator[Message]]


def main(results: int, order: Order) -> NoReturn:
    """Read the ordered pages, send them and leave."""
    confine(order)
    from adapters.pdf.document import read_document  # noqa: PLC0415 - only the child pays for PyMuPDF

    serve(results, order, read_document)


def serve(results: int, order: Order, parser: Parser) -> NoReturn:
    """Send what the parser yields, hang up, and leave by `os._exit`, so that no destructor of the parser runs.

    Running out of memory becomes an exit status: a message might not fit any more.
    """
    alarm = Alarm(step_seconds=order.limits.page_seconds, wall_seconds=order.limits.wall_seconds)
    messages = parser(order)
    try:
        while (message := alarm.guard(messages)) is not None:
            send(results, encode(message))
            if isinstance(message, (Finished, Refused)):
                break
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:
        pass  # the parent is gone or no longer interested
    os._exit(os.EX_OK)


def confine(order: Order) -> None:
    """Give up memory, time and disk of this process for good. The mapped file comes on top of its memory."""
    try:
        mapped_bytes = os.stat(order.file).st_size  # noqa: PTH116 - a Path costs 0.3 ms
    except OSError:  # `read_document` says what is wrong with it
        mapped_bytes = 0
    limits = order.limits
    confinement.confine(memory_bytes=limits.memory_bytes + mapped_bytes, cpu_seconds=limits.cpu_seconds)
