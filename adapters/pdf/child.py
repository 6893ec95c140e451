"""What runs inside the parser child: confine yourself, then read and tell.

The parent imports this module to name `main`, so it must stay cheap: PyMuPDF (140 MB, 0.7 s) is imported in the child
alone, where the fork server has it preloaded.
"""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

from adapters.pdf.protocol import OUT_OF_MEMORY, Finished, Limits, Message, Order, Refused, encode

Parser = Callable[[Order], Iterator[Message]]

#: Descriptors for interpreter, pipes and one file. `close_the_door` takes even these.
OPEN_FILES = 64


def wait_for_order(orders: int) -> Order | None:
    """Wait until the parent says what to read; None when it hangs up instead, or is gone."""
    with open(orders, "rb", buffering=0) as pipe:
        content = pipe.read()
    return Order.decode(content) if content else None


def main(results: int, order: Order) -> NoReturn:
    """Read the ordered pages, send them and leave."""
    confine(order.limits)
    from adapters.pdf.document import read_document  # noqa: PLC0415 - only the child pays for PyMuPDF

    serve(results, order, read_document)


def serve(results: int, order: Order, parser: Parser) -> NoReturn:
    """Send what the parser yields, hang up, and leave by `os._exit`, so that no destructor of the parser runs.

    Running out of memory becomes an exit status: a message might not fit any more.
    """
    alarm = Alarm(order.limits)
    messages = parser(order)
    try:
        with open(results, "wb") as pipe:
            while (message := alarm.guard(messages)) is not None:
                pipe.write(encode(message))
                pipe.flush()
                if isinstance(message, (Finished, Refused)):
                    break
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:
        pass  # the parent is gone or no longer interested
    os._exit(os.EX_OK)


def confine(limits: Limits) -> None:
    """Give up memory, time and disk of this process for good."""
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, 0)
    lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    lower(resource.RLIMIT_CPU, limits.cpu_seconds, grace=1)
    lower(resource.RLIMIT_AS, limits.memory_bytes)
    _silence_stdout()


def close_the_door() -> None:
    """Allow no further descriptor: from here on there is no new file and no socket."""
    lower(resource.RLIMIT_NOFILE, 0)


def lower(which: int, value: int, *, grace: int = 0) -> None:
    """Lower a limit; one that is lower already stays.

    `grace` lies between soft and hard: at equal CPU limits Linux sends SIGKILL, which looks like a lack of memory.
    """
    hard = resource.getrlimit(which)[1]
    most = hard if hard != resource.RLIM_INFINITY else value + grace
    resource.setrlimit(which, (min(value, most), min(value + grace, most)))


def _silence_stdout() -> None:
    """Point descriptor 1 at nothing: whatever a library prints must not reach the worker's log."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


class Alarm:
    """A real-time alarm with the default handler: it kills even a C loop that holds the interpreter lock.

    It runs while the parser works and stands still while the parent takes its time, so a slow database is nobody's
    timeout.
    """

    def __init__(self, limits: Limits) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._step_seconds = limits.page_seconds
        self._left_seconds = limits.wall_seconds

    def guard(self, messages: Iterator[Message]) -> Message | None:
        """Return the next message, or None after the last; die when it takes longer than a page or all may take."""
        granted = max(min(self._step_seconds, self._left_seconds), 0.001)
        signal.setitimer(signal.ITIMER_REAL, granted)
        message = next(messages, None)
        unused, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        self._left_seconds -= granted - unused
        return message
