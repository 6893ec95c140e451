"""The picture maker: one sandboxed child per picture, heard with suspicion, its end explained."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.images import child, failures
from adapters.images.protocol import ENVELOPE_BYTES, PART_BYTES, Limits, Made, Order, Refused, decode
from adapters.sandbox.child import Child
from adapters.sandbox.fork_server import ForkServer, Target
from adapters.sandbox.spare import Spare
from domain.media import Picture, Recipe

#: The child ends itself on time; this much later the parent stops believing that.
GRACE_SECONDS = 5.0

#: How often a job looks whether its picture is still wanted.
LOOK_SECONDS = 1.0

SERVER = ForkServer("adapters.images.warm")


class SandboxedPictureMaker:
    """See domain.media.PictureMaker. Pillow makes them, each in a process of its own with limits of its own."""

    def __init__(
        self,
        *,
        memory_bytes: int,
        seconds: int,
        max_pixels: int,
        max_frames: int,
        result_bytes: int,
        processes: int,
        target: Target = child.main,
    ) -> None:
        """`target` is what the child runs; tests put a crash in its place."""
        self._limits = Limits(
            memory_bytes=memory_bytes,
            cpu_seconds=seconds,
            wall_seconds=seconds,
            pixels=max_pixels,
            frames=max_frames,
            result_bytes=result_bytes,
        )
        self._slots = threading.BoundedSemaphore(processes)
        self._spare = Spare(SERVER, target)

    @contextmanager
    def kept_warm(self) -> Iterator[None]:
        """Start the fork server and have, from now on, one child ready for the next file; waits for neither."""
        with self._spare.kept():
            yield

    def make(self, file: Path, recipe: Recipe, *, still_wanted: Callable[[], None]) -> Picture:
        """See the port."""
        order = Order(str(file.absolute()), recipe, self._limits)
        while not self._slots.acquire(timeout=LOOK_SECONDS):
            still_wanted()
        try:
            with self._spare.take(order.encode()) as worker:
                self._spare.replace()
                return _receive(worker, self._limits, still_wanted)
        finally:
            self._slots.release()


def _receive(worker: Child, limits: Limits, still_wanted: Callable[[], None]) -> Picture:
    """Take a picture and nothing on trust: kinds, sizes, sum and time are checked."""
    made: Made | None = None
    content = bytearray()
    deadline = time.monotonic() + limits.wall_seconds + GRACE_SECONDS
    while made is None or len(content) < made.byte_count:
        match _listen(worker, limits, deadline, still_wanted):
            case Refused() as refusal:
                raise failures.refused(refusal)
            case Made(byte_count=count) as made if not content and count <= limits.result_bytes:
                pass
            case bytes() as part if made is not None and len(content) + len(part) <= made.byte_count:
                content += part
            case _:
                raise failures.crashed("it sent what it may not")
    return Picture(bytes(content), made.format, made.width, made.height, made.frames, made.unchanged)


def _listen(worker: Child, limits: Limits, deadline: float, still_wanted: Callable[[], None]) -> Made | Refused | bytes:
    while (left := deadline - time.monotonic()) > 0:
        try:
            heard = worker.read_frame(
                timeout_seconds=min(LOOK_SECONDS, left), max_bytes=max(PART_BYTES, ENVELOPE_BYTES)
            )
            if heard is not None:
                return decode(*heard)
        except EOFError:
            raise failures.died(worker.exit_status(), limits) from None
        except ValueError as error:
            raise failures.crashed(str(error)) from error
        still_wanted()
    raise failures.timed_out(limits)
