"""Passages: found back in their pages, bounded, never blank, always the same."""

import tracemalloc
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain, pairwise
from statistics import mean

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.chunking import MODEL_MAX_TOKENS, PAGE_BREAK, Chunker, passage
from domain.documents import Chunk, Page
from domain.tokens import estimate_tokens, kinds_of, running_tokens

PARAGRAPH = (
    "The mill stands where the river is narrow. Its wheel turns day and night; nobody remembers who built it. "
    "In 1872 the miller's daughter wrote down how much water each stone needs.\n"
)
EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈é"

words = st.sampled_from(
    ["mill", "Wasserrad", "水車", "мельница", "الطاحونة", EMOJI, "e\u0301", "12,345.67", "....", "x" * 300]
)
spaces = st.sampled_from(
    [" ", "  ", "\n", "\n\n", "\n \n", "\t", "\u3000", "\u00a0", "\x1c", ". ", "。", "\r\n", "\u2028"]
)
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=80)
texts = st.lists(st.one_of(words, spaces, any_text, st.just(PARAGRAPH)), max_size=30).map("".join)
documents = st.lists(st.one_of(st.just(""), st.just(" \n "), texts), max_size=8)
chunkers = st.tuples(st.integers(8, 120), st.integers(0, 30)).map(lambda n: Chunker(n[0], min(n[1], n[0] - 1)))

thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pages_of(texts: list[str]) -> list[Page]:
    return [Page(number, text) for number, text in enumerate(texts, start=1)]


def cut(chunker: Chunker, texts: list[str]) -> list[Chunk]:
    return list(chunker.chunk_pages(pages_of(texts)))


def spans(texts: list[str], chunks: list[Chunk]) -> list[tuple[int, int]]:
    starts = [sum(len(text) + len(PAGE_BREAK) for text in texts[:number]) for number in range(len(texts))]
    return [(starts[c.page_from - 1] + c.char_start, starts[c.page_to - 1] + c.char_end) for c in chunks]


@given(documents, chunkers)
@thorough
def test_every_chunk_is_found_back_in_its_pages(texts: list[str], chunker: Chunker) -> None:
    by_number = {page.number: page.text for page in pages_of(texts)}
    for chunk in cut(chunker, texts):
        assert passage(by_number, chunk) == chunk.text
        assert 1 <= chunk.page_from <= chunk.page_to <= len(texts)
        assert chunk.char_start < len(by_number[chunk.page_from])
        assert 0 < chunk.char_end <= len(by_number[chunk.page_to])


@given(documents, chunkers)
@thorough
def test_chunks_are_numbered_hashed_trimmed_and_bounded(texts: list[str], chunker: Chunker) -> None:
    chunks = cut(chunker, texts)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.text
        assert chunk.text == chunk.text.strip()
        assert chunk.text_hash == sha256(chunk.text.encode()).digest()
        assert chunk.token_count == estimate_tokens(chunk.text)
        assert chunk.token_count <= chunker.max_tokens or len(chunk.text) == 1


@given(documents, chunkers)
@thorough
def test_nothing_but_blanks_is_left_out(texts: list[str], chunker: Chunker) -> None:
    whole = PAGE_BREAK.join(texts)
    end = 0
    for start, stop in spans(texts, cut(chunker, texts)):
        assert whole[end:start].strip() == ""
        assert stop > end
        end = stop
    assert whole[end:].strip() == ""


@given(documents, st.integers(8, 60), st.integers(1, 30))
@thorough
def test_neighbours_share_at_most_the_overlap(texts: list[str], most: int, overlap: int) -> None:
    chunker = Chunker(most, min(overlap, most - 1))
    whole = PAGE_BREAK.join(texts)
    for (first, first_end), (second, second_end) in pairwise(spans(texts, cut(chunker, texts))):
        assert first < second
        assert first_end < second_end
        if second < first_end:
            running = running_tokens(kinds_of(whole[first:first_end]))
            assert running[-1] - running[second - first - 1] <= chunker.overlap_tokens + 0.01


@given(documents)
@thorough
def test_without_overlap_no_character_is_stored_twice(texts: list[str]) -> None:
    for (_, end), (start, _) in pairwise(spans(texts, cut(Chunker(40), texts))):
        assert end <= start


def test_overlap_repeats_whole_sentences_if_it_can() -> None:
    sentences = [f"Sentence number {number} is about the mill and its {number} wheels." for number in range(60)]
    chunks = cut(Chunker(60, 20), [" ".join(sentences)])
    assert all(chunk.text.startswith("Sentence") for chunk in chunks)
    assert all(later.text.split(".")[0] in earlier.text for earlier, later in pairwise(chunks))


def test_chunks_are_well_filled() -> None:
    chunks = cut(Chunker(200), [PARAGRAPH * 20] * 10)
    assert mean(chunk.token_count for chunk in chunks) > 140


def test_paragraphs_stay_whole_when_they_fit() -> None:
    texts = [PAGE_BREAK.join([PARAGRAPH.strip()] * 12)]
    for chunk in cut(Chunker(100), texts):
        assert set(chunk.text.split(PAGE_BREAK)) == {PARAGRAPH.strip()}


def test_a_passage_may_run_over_empty_pages() -> None:
    (chunk,) = cut(Chunker(100), ["", "  It begins here", "", " ", "and ends here. ", ""])
    assert (chunk.page_from, chunk.char_start, chunk.page_to, chunk.char_end) == (2, 2, 5, 14)


@pytest.mark.parametrize("texts", [[], [""], ["", " \n\t\u3000", ""], [" " * 100_000]])
def test_a_document_without_text_has_no_chunks(texts: list[str]) -> None:
    assert cut(Chunker(100, 10), texts) == []


def test_a_gap_longer_than_a_chunk_is_skipped() -> None:
    chunks = cut(Chunker(20, 5), ["before the gap" + "\n \n" * 50_000 + "after the gap"])
    assert [chunk.text for chunk in chunks] == ["before the gap", "after the gap"]


def test_no_passage_reaches_over_a_gap_longer_than_itself() -> None:
    texts = [PARAGRAPH * 10, *["\n" * 60] * 50, PARAGRAPH * 10]
    for chunk in cut(Chunker(256, 25), texts):
        assert PAGE_BREAK * 30 not in chunk.text


def test_graphemes_stay_whole() -> None:
    for chunk in cut(Chunker(70), [EMOJI * 200]):
        assert chunk.text.replace(EMOJI, "").replace("👩‍👩‍👧‍👦", "").replace("🏳️‍🌈", "").replace("é", "") == ""


def test_text_without_any_boundary_is_cut_all_the_same() -> None:
    for text in ("a" * 50_000, "漢" * 5_000, "\u0301" * 5_000):
        chunks = cut(Chunker(400, 40), [text])
        assert len(chunks) > 1
        assert all(chunk.token_count <= 400 for chunk in chunks)


def test_the_models_own_limit_holds_where_the_estimate_is_wrong() -> None:
    gibberish = "".join(chr(97 + (i * i * 7 + i // 3) % 26) for i in range(120_000))
    for chunk in cut(Chunker(8_000), [gibberish]):
        assert len(exact_tokens(chunk.text)) <= MODEL_MAX_TOKENS


def test_the_models_own_limit_holds_for_a_passage_with_what_it_repeats() -> None:
    sentence = "Die Donaudampfschifffahrtsgesellschaft hat Überprüfungsmaßnahmen für Wasserkraftwerke angeordnet. "
    for chunk in cut(Chunker(8_000, 800), [sentence * 600]):
        assert len(exact_tokens(chunk.text)) <= MODEL_MAX_TOKENS


def exact_tokens(text: str) -> list[str]:
    """Cut the text into pieces of one token: at least as many pieces as tokens."""
    from semantic_text_splitter import TextSplitter

    fits = TextSplitter.from_tiktoken_model("text-embedding-3-small", MODEL_MAX_TOKENS, trim=False).chunks(text)
    return [text] if len(fits) == 1 else [text] * (MODEL_MAX_TOKENS + 1)


def test_pages_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def pages() -> Iterator[Page]:
        for number in range(1, 100):
            read.append(number)
            yield Page(number, PARAGRAPH * 12)

    next(Chunker(100).chunk_pages(pages()))
    assert len(read) < 5


def test_memory_stays_flat_over_5000_pages() -> None:
    assert peak_bytes(Page(number, PARAGRAPH * 4) for number in range(1, 5_001)) < 2_000_000


def test_what_is_kept_of_blank_pages_does_not_grow_with_them() -> None:
    blank = (Page(number, "\u00a0" * 2_000) for number in range(2, 600))
    assert peak_bytes(chain([Page(1, PARAGRAPH)], blank, [Page(600, PARAGRAPH)])) < 500_000


def peak_bytes(pages: Iterable[Page]) -> int:
    """Return how much memory it takes at most to cut the pages."""
    chunks = Chunker(400, 40).chunk_pages(pages)
    tracemalloc.start()
    try:
        assert sum(1 for _ in chunks)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_same_pages_give_the_same_chunks() -> None:
    texts = [PARAGRAPH * 7, "", EMOJI * 50, PARAGRAPH * 3]
    assert cut(Chunker(64, 8), texts) == cut(Chunker(64, 8), texts)


def test_the_version_names_the_parameters() -> None:
    assert Chunker(400, 40).version == "2/400/40"


@pytest.mark.parametrize(("most", "overlap"), [(0, 0), (10, 10), (10, -1), (MODEL_MAX_TOKENS, 0)])
def test_impossible_sizes_are_refused(most: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        Chunker(most, overlap)


def test_a_missing_page_is_noticed() -> None:
    (chunk,) = cut(Chunker(100), ["one", "two"])
    with pytest.raises(KeyError):
        passage({1: "one"}, chunk)


# Token estimates (exact: cl100k_base)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("", 0),
        ("water", 1),
        (PARAGRAPH, 40),
        ("水車は川の流れを利用して穀物を挽くための機械です。", 32),
        ("Водяная мельница использует энергию реки для помола зерна.", 27),
        ("1,234.56\t789.01\t23,456.78\n" * 10, 160),
    ],
)
def test_an_estimate_is_near(text: str, exact: int) -> None:
    assert abs(estimate_tokens(text) - exact) <= max(1, 0.25 * exact)


@given(texts, st.data())
@thorough
def test_a_beginning_never_costs_more_than_the_whole(text: str, data: st.DataObject) -> None:
    running = running_tokens(kinds_of(text))
    assert len(running) == len(text)
    assert (running[1:] >= running[:-1]).all()
    length = data.draw(st.integers(0, len(text)))
    assert estimate_tokens(text[:length]) <= estimate_tokens(text)
