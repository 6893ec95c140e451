"""The page reader: one sandboxed child per call, its pages in batches, its end explained."""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

from adapters.pdf import child, failures
from adapters.pdf.protocol import Finished, Limits, Message, Opened, Order, PageRead, Refused, decode
from adapters.sandbox.child import Child
from adapters.sandbox.fork_server import ForkServer, Target
from adapters.sandbox.spare import Spare
from domain.documents import Page, PageBatch
from domain.errors import HeadraceError
from domain.text import clean_text

#: Raise it when the reading itself changes, so that quarantined files get another chance.
RULES_VERSION = 1

BATCH_PAGES = 64
BATCH_CHARACTERS = 256 * 1024
BATCH_SECONDS = 0.5

#: The child ends itself on time; this much later the parent stops believing that.
GRACE_SECONDS = 5.0


SERVER = ForkServer("adapters.pdf.warm")


class SandboxedPageReader:
    """Reads PDFs with PyMuPDF, each in a process of its own with limits of its own."""

    def __init__(
        self,
        *,
        parser_memory_bytes: int,
        parser_cpu_seconds: int,
        parser_wall_seconds: float,
        parser_page_seconds: float,
        parser_processes: int,
        document_max_pages: int,
        document_max_characters: int,
        page_max_characters: int,
        target: Target = child.main,
    ) -> None:
        """`target` is what the child runs; tests put a crash in its place."""
        self._limits = Limits(
            memory_bytes=parser_memory_bytes,
            cpu_seconds=parser_cpu_seconds,
            wall_seconds=parser_wall_seconds,
            page_seconds=parser_page_seconds,
            pages=document_max_pages,
            characters=document_max_characters,
            page_characters=page_max_characters,
        )
        self._slots = threading.BoundedSemaphore(parser_processes)
        self._spare = Spare(SERVER, target)

    @property
    def version(self) -> str:
        """Name parser and version."""
        return parser_version()

    @contextmanager
    def kept_warm(self) -> Iterator[None]:
        """Start the fork server and have, from now on, one child ready for the next file; waits for neither."""
        with self._spare.kept():
            yield

    def read_pages(self, file: Path, *, first_page: int = 1) -> Generator[PageBatch]:
        """Yield pages as they are parsed: at most 64 pages, about 256 Ki characters and half a second a batch.

        Waits while `parser_processes` children run, and on slow pages, with an empty batch every half second. What
        was parsed before a failure is yielded before it is raised.
        Raises TransientError when the parser cannot be started or is stopped from outside.
        """
        order = Order(str(file.absolute()), first_page, self._limits)
        while not self._slots.acquire(timeout=BATCH_SECONDS):
            yield PageBatch(0, ())
        try:
            with self._spare.take(order.encode()) as parser:
                self._spare.replace()  # while this one opens its file
                yield from in_batches(Conversation(parser, order), first_page)
        finally:
            self._slots.release()


@cache
def parser_version() -> str:
    """Name parser and version; looking it up takes 0.3 ms."""
    return f"pymupdf-{version('pymupdf-lite')}/{RULES_VERSION}"


class Conversation:
    """Listens to a child and takes nothing it says on trust: order, sizes, sum and time are checked."""

    def __init__(self, parser: Child, order: Order) -> None:
        self._parser = parser
        self._order = order
        self._expected_page = order.first_page
        self._characters = 0
        self._waited_seconds = 0.0
        self.page_count = 0
        self.finished = False

    def next_page(self, *, timeout_seconds: float) -> PageRead | None:
        """Return the next page, or None when it takes longer or there is no more. Raises what ended the child."""
        match self._listen(timeout_seconds):
            case None:
                return None
            case PageRead() as page if page.number == self._expected_page <= self.page_count:
                return self._accept(page)
            case Opened(page_count=count) if self.page_count == 0:
                self.page_count = count
            case Finished() if self._expected_page > self.page_count > 0:
                self.finished = True
            case Refused() as refusal:
                raise failures.refused(refusal, self._order.limits, Path(self._order.file))
            case _:
                raise failures.crashed(self._place, "it lost count of the pages")
        return None

    def _accept(self, page: PageRead) -> PageRead:
        self._characters += len(page.text)
        if len(page.text) > self._order.limits.page_characters or self._characters > self._order.limits.characters:
            raise failures.crashed(self._place, "it sent more than it may")
        self._expected_page += 1
        return page

    def _listen(self, timeout_seconds: float) -> Message | None:
        """Wait for a message. Only this waiting counts as the child's time, not what the caller does with the pages."""
        limits = self._order.limits
        left = limits.wall_seconds + GRACE_SECONDS - self._waited_seconds
        if left <= 0:
            raise failures.timed_out(self._place, f"{limits.wall_seconds:g} seconds in all")
        began = time.monotonic()
        try:
            frame = self._parser.read_frame(timeout_seconds=min(timeout_seconds, left), max_bytes=limits.message_bytes)
            return None if frame is None else decode(*frame)
        except EOFError:
            raise failures.died(self._parser.exit_status(), self._place, limits) from None
        except ValueError as error:
            raise failures.crashed(self._place, str(error)) from error
        finally:
            self._waited_seconds += time.monotonic() - began

    @property
    def _place(self) -> str:
        if self.page_count == 0:
            return "while opening the file"
        return f"on page {self._expected_page}" if self._expected_page <= self.page_count else "after the last page"


class Batch:
    """Pages on their way to the caller."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self._repaired = False
        self._characters = 0
        self._due = time.monotonic() + BATCH_SECONDS

    def add(self, read: PageRead) -> Page:
        """Take a page and return it clean."""
        if not self.pages:
            self._due = time.monotonic() + BATCH_SECONDS
        page = Page(read.number, clean_text(read.text), read.lost)
        self.pages.append(page)
        self._characters += len(page.text)
        self._repaired |= read.repaired
        return page

    @property
    def seconds_left(self) -> float:
        """Return how long the next page may take before these must go, or nothing must."""
        return max(self._due - time.monotonic(), 0.0)

    @property
    def is_due(self) -> bool:
        """Tell whether the pages must go: they are many, long or old."""
        full = len(self.pages) >= BATCH_PAGES or self._characters >= BATCH_CHARACTERS
        return full or time.monotonic() >= self._due

    def sealed(self, page_count: int) -> PageBatch:
        """Return the pages as the domain knows them."""
        return PageBatch(page_count, tuple(self.pages), self._repaired)


def in_batches(talk: Conversation, first_page: int) -> Iterator[PageBatch]:
    """Gather pages. What ended the child is raised after the pages it still delivered."""
    batch = Batch()
    any_left = first_page > 1
    failure: HeadraceError | None = None
    while not talk.finished and failure is None:
        try:
            read = talk.next_page(timeout_seconds=batch.seconds_left)
        except HeadraceError as error:
            failure = error
            break
        if read:
            page = batch.add(read)
            any_left |= bool(page.text) or not page.lost
        if batch.is_due:
            yield batch.sealed(talk.page_count)
            batch = Batch()
    if batch.pages:
        yield batch.sealed(talk.page_count)
    if failure is None and not any_left:
        failure = failures.nothing_left(talk.page_count)
    if failure:
        raise failure
