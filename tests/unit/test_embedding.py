"""Requests keep the limits; answers are checked before anybody uses them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.embedding import check_texts, embed_side_by_side, plan_batches, unit_vectors
from domain.errors import FailureCode, PermanentError, TransientError
from domain.ports import ChunkText, EmbeddingLimits, Embeddings, Vectors

LIMITS = EmbeddingLimits(inputs_per_request=5, tokens_per_request=100, tokens_per_input=40)


def identity(tokens: int) -> int:
    return tokens


@given(st.lists(st.integers(0, 40)))
def test_batches_keep_order_and_limits(counts: list[int]) -> None:
    batches = list(plan_batches(counts, LIMITS, tokens=identity))
    assert [count for batch in batches for count in batch] == counts
    for batch in batches:
        assert 1 <= len(batch) <= LIMITS.inputs_per_request
        assert sum(batch) <= LIMITS.tokens_per_request


@given(st.lists(st.integers(1, 40), min_size=1))
def test_a_batch_ends_only_where_the_next_text_does_not_fit(counts: list[int]) -> None:
    batches = list(plan_batches(counts, LIMITS, tokens=identity))
    for batch, following in pairwise(batches):
        assert len(batch) == LIMITS.inputs_per_request or sum(batch) + following[0] > LIMITS.tokens_per_request


def test_no_items_make_no_request() -> None:
    assert list(plan_batches([], LIMITS, tokens=identity)) == []


def test_items_are_read_as_the_requests_go_out() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield 10

    next(plan_batches(items(), LIMITS, tokens=identity))
    assert len(read) == 6


@pytest.mark.parametrize(
    "limits", [EmbeddingLimits(5, 100, 40), EmbeddingLimits(5, 40, 100)], ids=["per input", "per request"]
)
def test_a_text_that_no_request_may_carry_is_rejected(limits: EmbeddingLimits) -> None:
    assert list(plan_batches([40], limits, tokens=identity)) == [[40]]
    with pytest.raises(PermanentError, match=r"41 tokens.*takes 40.*CHUNK_TOKENS") as caught:
        list(plan_batches([1, 41], limits, tokens=identity))
    assert caught.value.code is FailureCode.EMBEDDING_REJECTED


class EmbedderOfThree:
    """Three requests at a time; a text that begins with "bad" fails."""

    model, dimensions = "fake/1", 1
    limits = EmbeddingLimits(1, 100, 100, requests_at_a_time=3)

    def __init__(self, meeting: Barrier | None = None) -> None:
        self.asked: list[str] = []
        self.meeting = meeting

    def embed(self, texts: Sequence[str]) -> Embeddings:
        self.asked += texts
        if self.meeting:
            self.meeting.wait(timeout=10)
        if texts[0].startswith("bad"):
            raise TransientError(FailureCode.EMBEDDING_UNAVAILABLE, texts[0])
        return Embeddings(np.ones((1, 1), np.float32), tokens=int(texts[0]))


def one_text_each(*texts: str) -> Iterator[list[ChunkText]]:
    return ([ChunkText(text.encode(), text, 1)] for text in texts)


def never() -> None:
    """Object to nothing."""


def embedded(
    embedder: EmbedderOfThree, *texts: str, checkpoint: Callable[[], None] = never
) -> Iterator[tuple[str, int]]:
    for batch, result in embed_side_by_side(embedder, one_text_each(*texts), checkpoint=checkpoint):
        yield batch[0].text, result.tokens


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 10])
def test_each_batch_comes_back_with_its_own_result(count: int) -> None:
    texts = [str(number) for number in range(count)]
    assert list(embedded(EmbedderOfThree(), *texts)) == [(text, int(text)) for text in texts]


def test_requests_are_under_way_side_by_side() -> None:
    assert len(list(embedded(EmbedderOfThree(Barrier(3)), *"123456"))) == 6


def test_no_more_is_asked_for_than_may_be_under_way() -> None:
    embedder = EmbedderOfThree()
    answers = embedded(embedder, *"123456")
    next(answers)
    assert len(embedder.asked) <= 4
    answers.close()


def test_what_was_under_way_is_not_lost_to_a_neighbours_failure() -> None:
    embedder = EmbedderOfThree(Barrier(3))
    answers = embedded(embedder, "bad one", "2", "bad two", "4", "5", "6")
    assert next(answers) == ("2", 2)
    with pytest.raises(TransientError, match="bad one"):
        next(answers)
    assert sorted(embedder.asked) == ["2", "bad one", "bad two"]


def test_an_objection_lets_what_is_under_way_end() -> None:
    embedder, answers_left = EmbedderOfThree(), [None] * 4

    def checkpoint() -> None:
        if not answers_left:
            raise TransientError(FailureCode.INTERNAL_ERROR, "stop here")
        answers_left.pop()

    answers = embedded(embedder, *"123456", checkpoint=checkpoint)

    assert [next(answers) for _ in range(4)] == [("1", 1), ("2", 2), ("3", 3), ("4", 4)]
    with pytest.raises(TransientError, match="stop here"):
        next(answers)
    assert sorted(embedder.asked) == ["1", "2", "3", "4"]


def test_an_empty_text_is_named() -> None:
    check_texts(["a", " "])
    with pytest.raises(PermanentError, match="Text 2 of 3"):
        check_texts(["a", "", "b"])


def vectors(*rows: list[float]) -> list[Vectors]:
    return [np.array(row, np.float32) for row in rows]


def test_vectors_are_scaled_to_length_one() -> None:
    unit = unit_vectors(vectors([3, 4], [0, -2]), count=2, dimensions=2)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, -1]], atol=1e-7)
    assert unit.dtype == np.float32


def test_very_long_and_very_short_vectors_are_scaled_too() -> None:
    unit = unit_vectors(vectors([3e30, 4e30], [3e-30, 4e-30]), count=2, dimensions=2)
    np.testing.assert_allclose(unit, [[0.6, 0.8]] * 2, rtol=1e-5)


def test_the_callers_vectors_are_left_alone() -> None:
    raw = vectors([3, 4])
    unit_vectors(raw, count=1, dimensions=2)
    np.testing.assert_array_equal(raw[0], [3, 4])


def test_no_vectors_keep_their_shape() -> None:
    assert unit_vectors([], count=0, dimensions=7).shape == (0, 7)


@pytest.mark.parametrize("rows", [[], [[1.0, 0.0], [1.0, 0.0]]])
def test_another_number_of_vectors_is_a_sick_server(rows: list[list[float]]) -> None:
    with pytest.raises(TransientError, match=f"{len(rows)} vectors for 1 texts"):
        unit_vectors(vectors(*rows), count=1, dimensions=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_a_vector_without_direction_is_a_sick_server(bad: float) -> None:
    with pytest.raises(TransientError, match="zero or not finite"):
        unit_vectors(vectors([1, 0], [0, bad]), count=2, dimensions=2)


def test_another_length_is_a_wrong_setting() -> None:
    with pytest.raises(PermanentError, match="EMBEDDING_DIMENSIONS=3"):
        unit_vectors(vectors([1, 0], [1, 0, 0]), count=2, dimensions=2)
