"""A parser child that is healthy except for files with a mark. The child imports this module by its name."""

import ctypes
from pathlib import Path

from adapters.pdf import child
from adapters.pdf.protocol import Order
from tests.chaos.marks import Mark, mark_of


def main(results: int, order: Order) -> None:
    mark = mark_of(Path(order.file).read_bytes()[-40:])
    if mark:
        child.confine(order)
        child.serve(results, order, lambda _: iter(lambda: fall_ill(mark, order), None))
    child.main(results, order)


def fall_ill(mark: Mark, order: Order) -> None:
    match mark:
        case Mark.SEGFAULT:
            ctypes.string_at(0)
        case Mark.DEVOUR:
            bytearray(order.limits.memory_bytes)
        case Mark.HANG:
            ctypes.PyDLL(None).sleep(60)  # in C, without letting go of the interpreter lock
