"""What runs inside the picture child: confine yourself, make the picture, tell it and leave.

The parent imports this module to name `main`, so it must stay cheap: Pillow is imported in the child alone, where the
fork server has it loaded.
"""

import os
import signal
from typing import NoReturn

from adapters.images.protocol import Order, Refused, encode_picture, encode_refusal
from adapters.sandbox.confinement import confine, keep_quiet
from adapters.sandbox.frames import OUT_OF_MEMORY


def main(results: int, order: Order) -> NoReturn:
    """Make the ordered picture, send it and leave by `os._exit`, so that no destructor of a decoder runs."""
    limits = order.limits
    keep_quiet()
    confine(memory_bytes=limits.memory_bytes, cpu_seconds=limits.cpu_seconds)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it kills even a C loop that holds the interpreter lock
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
    from adapters.images.making import make_picture  # noqa: PLC0415 - only the child pays for Pillow

    try:
        made = make_picture(order)
        signal.setitimer(signal.ITIMER_REAL, 0)  # a parent that takes its time is nobody's timeout
        with open(results, "wb") as pipe:
            messages = (encode_refusal(made),) if isinstance(made, Refused) else encode_picture(*made)
            for message in messages:
                pipe.write(message)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:
        pass  # the parent is gone or no longer interested
    os._exit(os.EX_OK)
