"""Whatever happens in the child, the parent tells what and where, and goes on."""

import os
import signal
import time
from pathlib import Path

import pytest

from adapters.pdf.reader import SERVER, SandboxedPageReader
from adapters.sandbox.fork_server import Target
from domain.errors import FailureCode, HeadraceError, PermanentError, TransientError
from tests import pdf_files

FILE = Path("any.pdf")


def reader(target: Target, **changes: float) -> SandboxedPageReader:
    limits = {
        "parser_memory_bytes": 512 << 20,
        "parser_cpu_seconds": 30,
        "parser_wall_seconds": 30,
        "parser_page_seconds": 10,
        "parser_processes": 1,
        "document_max_pages": 100,
        "document_max_characters": 10_000,
        "page_max_characters": 1_000,
    }
    return SandboxedPageReader(**(limits | changes), target=target)  # type: ignore[arg-type]


def outcome(target: Target, **changes: float) -> tuple[list[int], HeadraceError]:
    """Return the numbers of the pages and what reading ended with."""
    numbers: list[int] = []
    with pytest.raises(HeadraceError, match=r"^[A-Z].*\.$") as caught:
        numbers.extend(page.number for batch in reader(target, **changes).read_pages(FILE) for page in batch.pages)
    return numbers, caught.value


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        (pdf_files.crash, FailureCode.PARSER_CRASHED, "crashed (signal SIGSEGV) on page 3"),
        (pdf_files.be_killed, FailureCode.PARSE_MEMORY, "ran out of memory on page 3 (512 MiB are allowed)"),
        (pdf_files.devour, FailureCode.PARSE_MEMORY, "ran out of memory on page 3"),
        (pdf_files.open_a_socket, FailureCode.PARSER_CRASHED, "crashed (exit status 1) on page 3"),
    ],
)
def test_the_end_of_a_child_has_a_code_and_a_page(target: Target, code: FailureCode, words: str) -> None:
    numbers, error = outcome(target)

    assert numbers == [1, 2], "what was parsed before is not lost"
    assert isinstance(error, PermanentError)
    assert (error.code, words in error.message) == (code, True), error.message


@pytest.mark.parametrize("target", [pdf_files.sleep, pdf_files.hold_the_interpreter])
def test_a_page_that_takes_too_long_is_killed_on_time(target: Target) -> None:
    began = time.monotonic()
    numbers, error = outcome(target, parser_page_seconds=0.5)

    assert numbers == [1, 2]
    assert isinstance(error, PermanentError)
    assert error.code == FailureCode.PARSE_TIMEOUT
    assert "on page 3 (allowed: 0.5 seconds a page, 30 seconds in all)" in error.message
    assert time.monotonic() - began < 5


def test_a_document_that_takes_too_long_is_killed_on_time() -> None:
    _, error = outcome(pdf_files.sleep, parser_wall_seconds=0.5)

    assert isinstance(error, PermanentError)
    assert error.code == FailureCode.PARSE_TIMEOUT


def test_a_document_that_computes_too_long_is_killed_on_time() -> None:
    _, error = outcome(pdf_files.compute, parser_cpu_seconds=1)

    assert isinstance(error, PermanentError)
    assert error.code == FailureCode.PARSE_TIMEOUT
    assert "1 seconds of computing" in error.message


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (pdf_files.talk_nonsense, "not one of ours"),
        (pdf_files.skip_a_page, "lost count"),
        (pdf_files.announce_too_much, "more than it may"),
        (pdf_files.leave, "exit status 3"),
    ],
)
def test_nothing_a_child_says_is_taken_on_trust(target: Target, words: str) -> None:
    began = time.monotonic()
    numbers, error = outcome(target)

    assert numbers == []
    assert isinstance(error, PermanentError)
    assert error.code == FailureCode.PARSER_CRASHED
    assert words in error.message
    assert time.monotonic() - began < 5


def test_a_child_that_stops_in_the_middle_of_a_message_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.pdf.reader.GRACE_SECONDS", 0.2)
    _, error = outcome(pdf_files.stop_mid_message, parser_wall_seconds=0.5)

    assert isinstance(error, PermanentError)
    assert error.code == FailureCode.PARSE_TIMEOUT


def test_a_stop_from_outside_is_nobodys_fault() -> None:
    _, error = outcome(pdf_files.be_hung_up)

    assert isinstance(error, TransientError)


@pytest.mark.parametrize("target", [pdf_files.report_a_signal, pdf_files.print_loudly])
def test_signals_to_the_group_and_noise_on_stdout_do_no_harm(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    numbers, error = outcome(target)

    assert numbers == [1, 2]
    assert isinstance(error, PermanentError), "the stand-in promised nine pages"
    assert "lost count" in error.message
    assert "noise" not in capfd.readouterr().out


def test_a_slow_caller_costs_the_child_no_time() -> None:
    batches = reader(pdf_files.crash, parser_wall_seconds=1, parser_page_seconds=1).read_pages(FILE)
    next(batches)
    time.sleep(1.5)

    with pytest.raises(PermanentError, match="SIGSEGV"):
        next(batches)


def test_a_killed_fork_server_is_replaced() -> None:
    outcome(pdf_files.leave)
    assert SERVER.pid is not None
    os.kill(SERVER.pid, signal.SIGKILL)
    numbers, error = outcome(pdf_files.crash)

    assert numbers == [1, 2]
    assert "SIGSEGV" in error.args[0]


def test_closing_kills_a_child_that_hangs() -> None:
    one_at_a_time = reader(pdf_files.sleep)
    pages = one_at_a_time.read_pages(FILE)
    next(pages)
    began = time.monotonic()
    pages.close()

    assert time.monotonic() - began < 2
    assert not hanging_children()
    next(one_at_a_time.read_pages(FILE))


def hanging_children() -> list[int]:
    server = SERVER.pid
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
