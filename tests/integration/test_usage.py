"""Tokens are set aside before they are spent, and nobody spends more than a day's budget."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from domain.documents import Document
from domain.errors import FailureCode, ParkedError, PermanentError
from tests.builders import Held, Rails, a_workspace, an_indexing_document


def reserve(rails: Rails, held: Held, tokens: int) -> None:
    with rails.transaction(held.lease) as unit:
        unit.usage.reserve(held.document, tokens)


def settle(rails: Rails, held: Held, *, reserved: int, spent: int, batch: int = 1) -> bool:
    with rails.transaction(held.lease) as unit:
        return unit.usage.settle(held.document, batch=batch, reserved=reserved, spent=spent)


def a_document(rails: Rails, workspace_id, content: bytes = b"a") -> Held:
    return an_indexing_document(rails, workspace_id=workspace_id, content=content)


def reserved(rails: Rails) -> list[int]:
    return rails.column("SELECT tokens FROM token_reservations ORDER BY tokens")


def test_a_workspace_without_a_budget_may_spend_anything(rails: Rails) -> None:
    reserve(rails, a_document(rails, a_workspace(rails)), 10**12)

    assert reserved(rails) == [10**12]


def test_a_second_attempt_replaces_its_reservation(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails, budget=100))
    reserve(rails, held, 80)

    reserve(rails, held, 70)

    assert reserved(rails) == [70]


def test_a_document_larger_than_a_days_budget_can_never_be_indexed(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails, budget=100))

    with pytest.raises(PermanentError, match="daily budget of 100") as caught:
        reserve(rails, held, 101)

    assert caught.value.code is FailureCode.BUDGET_EXCEEDED
    assert reserved(rails) == []


def test_a_used_up_budget_parks_until_midnight(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    first = a_document(rails, workspace_id)
    settle(rails, first, reserved=0, spent=60)

    with pytest.raises(ParkedError, match="midnight") as caught:
        reserve(rails, a_document(rails, workspace_id, b"b"), 50)

    assert caught.value.retry_after is not None
    assert timedelta() < caught.value.retry_after <= timedelta(hours=24, seconds=1)


def test_what_others_have_reserved_is_spoken_for(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    reserve(rails, a_document(rails, workspace_id), 60)

    with pytest.raises(ParkedError):
        reserve(rails, a_document(rails, workspace_id, b"b"), 50)


def test_two_documents_cannot_reserve_the_same_tokens(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    documents = [a_document(rails, workspace_id, bytes([n])) for n in range(4)]

    def try_to_reserve(held: Held) -> bool:
        try:
            reserve(rails, held, 60)
        except ParkedError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(try_to_reserve, documents)) == 1


def test_an_expired_reservation_binds_nobody(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    reserve(rails, a_document(rails, workspace_id), 60)
    rails.connection.execute("UPDATE token_reservations SET expires_at = now() - interval '1 s'")

    reserve(rails, a_document(rails, workspace_id, b"b"), 50)

    assert reserved(rails) == [50, 60]


def test_what_costs_nothing_needs_no_budget(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    settle(rails, a_document(rails, workspace_id), reserved=0, spent=120)

    reserve(rails, a_document(rails, workspace_id, b"b"), 0)


def test_settling_books_what_was_spent_and_gives_back_what_was_not(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails, budget=100))
    reserve(rails, held, 90)

    settle(rails, held, reserved=40, spent=35)
    settle(rails, held, reserved=50, spent=55, batch=2)

    assert reserved(rails) == [0]
    assert rails.column("SELECT tokens FROM workspace_daily_usage") == [90]


def test_settling_keeps_a_slow_job_s_reservation_alive(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails))
    reserve(rails, held, 90)
    rails.connection.execute("UPDATE token_reservations SET expires_at = now()")

    settle(rails, held, reserved=10, spent=10)

    assert rails.column("SELECT expires_at > now() + interval '9 minutes' FROM token_reservations") == [True]


def test_tokens_spent_are_booked_even_if_the_reservation_is_gone(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails))
    assert isinstance(held.document, Document)

    settle(rails, held, reserved=10, spent=12)

    assert rails.column("SELECT tokens FROM workspace_daily_usage") == [12]


def test_a_batch_is_booked_once_however_often_its_commit_is_repeated(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails))
    reserve(rails, held, 100)

    booked = [settle(rails, held, reserved=40, spent=35) for _ in range(2)]

    assert booked == [True, False]
    assert reserved(rails) == [60]
    assert rails.column("SELECT tokens FROM workspace_daily_usage") == [35]


def test_a_batch_without_its_reservation_is_booked_all_the_same(rails: Rails) -> None:
    held = a_document(rails, a_workspace(rails))

    assert settle(rails, held, reserved=40, spent=35)

    assert rails.column("SELECT tokens FROM workspace_daily_usage") == [35]
