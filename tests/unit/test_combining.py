"""Threads that write at the same time share one call, and each gets its own result."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest

from adapters.postgres import combining
from adapters.postgres.combining import LINGER_SECONDS, LONELY_SECONDS, Combined


class Writer:
    """Doubles numbers, remembers its calls, and holds the first one until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.is_busy, self.may_go = Event(), Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.is_busy.set()
        assert self.may_go.wait(5)
        if -1 in items:
            raise OSError("the database is away")
        return [2 * item for item in items]


@pytest.fixture
def writer() -> Writer:
    return Writer()


def gather(writer: Writer, items: Sequence[int], *, most: int = 10) -> list[int | OSError]:
    """Write the first item, and the others while that is under way."""
    return gather_in(Combined(writer, most=most), writer, items)


def gather_in(combined: Combined[int, int], writer: Writer, items: Sequence[int]) -> list[int | OSError]:
    def write(item: int) -> int | OSError:
        try:
            return combined(item)
        except OSError as error:
            return error

    with ThreadPoolExecutor(len(items)) as threads:
        first = threads.submit(write, items[0])
        assert writer.is_busy.wait(5)
        others = [threads.submit(write, item) for item in items[1:]]
        while len(combined._waiting) < len(others):
            pass
        writer.may_go.set()
        return [first.result(5), *(each.result(5) for each in others)]


def test_a_lone_caller_writes_at_once_in_its_own_thread() -> None:
    combined = Combined(lambda items: [get_ident() for _ in items], most=10)

    assert [combined(1), combined(2)] == [get_ident()] * 2


def test_what_gathers_during_a_write_goes_together(writer: Writer) -> None:
    assert gather(writer, [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert [sorted(call) for call in writer.calls] == [[1], [2, 3, 4]]


def test_no_call_is_larger_than_allowed(writer: Writer) -> None:
    assert gather(writer, [1, 2, 3, 4, 5, 6], most=2) == [2, 4, 6, 8, 10, 12]
    assert [len(call) for call in writer.calls] == [1, 2, 2, 1]


@pytest.mark.parametrize(("later", "lingers"), [(LONELY_SECONDS / 2, [LINGER_SECONDS]), (2 * LONELY_SECONDS, [])])
def test_who_comes_soon_after_several_waits_for_more_and_who_comes_late_does_not(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, later: float, lingers: list[float]
) -> None:
    now, slept = [100.0], list[float]()
    monkeypatch.setattr(combining, "monotonic", lambda: now[0])
    monkeypatch.setattr(combining, "sleep", slept.append)
    combined = Combined(writer, most=10)
    gather_in(combined, writer, [1, 2, 3])
    now[0] += later
    slept.clear()

    assert combined(4) == 8
    assert slept == lingers


def test_an_error_reaches_everybody_in_the_call_and_nobody_else(writer: Writer) -> None:
    first, *others = gather(writer, [1, -1, 3])

    assert first == 2
    assert [str(error) for error in others] == ["the database is away"] * 2


def test_after_an_error_it_writes_again() -> None:
    answers = iter([OSError("away"), [4]])

    def write(_: Sequence[int]) -> list[int]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    combined = Combined(write, most=10)
    with pytest.raises(OSError, match="away"):
        combined(1)

    assert combined(2) == 4
