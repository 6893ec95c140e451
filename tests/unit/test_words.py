"""The word memory of the local model: the same ids as its tokenizer gives the whole text."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from adapters.embeddings.local import _TOKENIZER, _model_files
from adapters.embeddings.words import WordIds

#: What the model reads in its own ways, alone and in a row.
PIECES = [" ", "\n", "\t", "\u2581", "<s>", "</s>", "<unk>", "<0x0A>", "mill", "水車", "é", "x" * 40, "\x00", "\r"]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(_model_files() / _TOKENIZER))


@cache
def words() -> WordIds:
    return WordIds(tokenizer())


def exact(text: str) -> list[int]:
    ids: list[int] = tokenizer().encode(text, add_special_tokens=False).ids
    return ids


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_words_have_the_ids_of_their_text(pieces: str, anything: str) -> None:
    assert [found.tolist() for found in words().of([pieces, anything])] == [exact(pieces), exact(anything)]


@pytest.mark.parametrize("text", ["the mill", " the  mill\n\n   wheel ", "\nmill", "mill \n", "a<unk> b", "x" * 3000])
def test_remembered_words_have_the_same_ids(text: str) -> None:
    once, again = words().of([text, text])
    assert once.tolist() == again.tolist() == words().of([text])[0].tolist() == exact(text)


def test_a_full_memory_starts_anew() -> None:
    small = WordIds(tokenizer(), most_letters=100)
    for number in range(100):
        text = f"word{number} and number{number}"
        assert small.of([text])[0].tolist() == exact(text)
    assert small.letters < 150
