"""One child waits for its order, so that documents do not wait for children; it reads one file, and leaves with us."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.pdf.reader import SERVER, SandboxedPageReader
from adapters.sandbox.fork_server import Target
from domain.errors import PermanentError
from tests import pdf_files

ROOT = Path(__file__).parents[2]
LIMITS = {
    "parser_memory_bytes": 512 << 20,
    "parser_cpu_seconds": 30,
    "parser_wall_seconds": 30,
    "parser_page_seconds": 10,
    "parser_processes": 2,
    "document_max_pages": 100,
    "document_max_characters": 10_000,
    "page_max_characters": 1_000,
}
FILE = Path("any.pdf")


@contextmanager
def warm_reader(target: Target = pdf_files.tell_pid) -> Iterator[SandboxedPageReader]:
    """A reader whose spare child waits."""
    before = children()
    reader = SandboxedPageReader(**LIMITS, target=target)  # type: ignore[arg-type]
    with reader.kept_warm():
        wait_until(lambda: len(children() - before) == 1)
        yield reader
    wait_until(lambda: children() <= before)


def text_of(reader: SandboxedPageReader) -> str:
    return "".join(page.text for batch in reader.read_pages(FILE) for page in batch.pages)


def children() -> set[int]:
    """Return what the fork server has forked and not buried yet."""
    server = server_pid()
    try:
        return {int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def server_pid() -> int | None:
    return SERVER.pid


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_child_that_waits_reads_the_next_file() -> None:
    with warm_reader() as reader:
        (waiting,) = children()

        assert text_of(reader) == str(waiting)


def test_no_child_reads_two_files() -> None:
    with warm_reader() as reader:
        pids = [text_of(reader) for _ in range(5)]

    assert len(set(pids)) == 5


def test_another_child_waits_before_the_file_is_read() -> None:
    with warm_reader() as reader:
        batches = reader.read_pages(FILE)
        (page,) = next(batches).pages
        wait_until(lambda: children() - {int(page.text)})
        (waiting,) = children() - {int(page.text)}
        batches.close()

        assert text_of(reader) == str(waiting)


def test_a_child_that_was_killed_while_it_waited_is_not_used() -> None:
    with warm_reader() as reader:
        (killed,) = children()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not children())
        pids = [text_of(reader), text_of(reader)]

    assert str(killed) not in pids


def test_a_child_of_a_killed_fork_server_is_not_used_and_leaves() -> None:
    with warm_reader() as reader:
        (orphan,) = children()
        killed = server_pid()
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not is_running(killed))

        assert text_of(reader) != str(orphan)
        wait_until(lambda: not is_running(orphan))


def test_a_signal_to_the_whole_group_does_not_end_it() -> None:
    with warm_reader() as reader:
        (waiting,) = children()
        wait_until(lambda: ignores(waiting, signal.SIGTERM))
        os.kill(waiting, signal.SIGTERM)
        os.kill(waiting, signal.SIGINT)

        assert text_of(reader) == str(waiting)


def test_nor_the_fork_server() -> None:
    with warm_reader() as reader:
        server = server_pid()
        assert server is not None
        os.kill(server, signal.SIGTERM)
        os.kill(server, signal.SIGINT)
        texts = [text_of(reader), text_of(reader)]

    assert all(texts)
    assert server_pid() == server


def test_its_limits_hold() -> None:
    with (
        warm_reader(pdf_files.devour) as reader,
        pytest.raises(PermanentError, match=r"ran out of memory on page 3 \(512 MiB are allowed\)"),
    ):
        text_of(reader)


def test_nobody_waits_unless_asked() -> None:
    before = children()
    text_of(SandboxedPageReader(**LIMITS, target=pdf_files.tell_pid))  # type: ignore[arg-type]

    wait_until(lambda: children() <= before)


def test_the_fork_server_has_done_what_children_need() -> None:
    with warm_reader(pdf_files.tell_what_is_warm) as reader:
        assert text_of(reader) == "MuPDF is prepared, heap is frozen"


def test_nothing_is_left_of_a_worker_that_was_killed() -> None:
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from adapters.pdf.reader import SandboxedPageReader
        from tests.integration.test_pdf_spare import children, server_pid, wait_until
        with SandboxedPageReader(**{LIMITS!r}).kept_warm():
            wait_until(children)
            print(server_pid(), *children(), flush=True)
            sys.stdin.read()
    """)
    worker = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    left = [int(pid) for pid in worker.stdout.readline().split()]
    assert len(left) == 2
    worker.kill()
    worker.communicate()

    wait_until(lambda: not any(map(is_running, left)))


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ignores(pid: int, number: signal.Signals) -> bool:
    (mask,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line]
    return bool(int(mask, 16) >> (number - 1) & 1)
