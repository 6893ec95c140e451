"""Cut a document's pages into passages that a retriever can use, and find a passage back in its pages.

The document's text is its pages joined by `PAGE_BREAK`. Cuts fall at the strongest boundary that fits (paragraph,
line, sentence, word, grapheme; Unicode rules), found by semantic-text-splitter; sizes are estimates (domain.tokens).
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from semantic_text_splitter import TextSplitter

from domain.documents import Chunk, Page
from domain.tokens import Floats, Kinds, kinds_of, running_tokens, whole_tokens

PAGE_BREAK = "\n\n"

#: Raise this when the same pages would be cut differently: stored chunks are then known to be of an older cut.
ALGORITHM = 2

#: What the embedding models of OpenAI accept in one input; cl100k_base has no token below one byte.
MODEL_MAX_TOKENS = 8191

#: Text that looks cheaper than this (dot leaders, blank tables) is still cut: a longer passage helps nobody.
_MAX_CHARACTERS_PER_TOKEN = 8

#: Most passages take fewer: the rest of what could belong to one is weighed only if it must be.
_USUAL_CHARACTERS_PER_TOKEN = 5

#: Characters past the limit that the splitter sees, so that it knows whether a sentence or a grapheme ends there.
_LOOKAHEAD = 64

_WORD = re.compile(r"\S")

#: Where a shared tail may begin, best first: after a line break, a sentence, a word.
_TAIL_STARTS = (re.compile(r"\n\s*(?=\S)"), re.compile(r"(?:[.!?]\s+|[。！？])(?=\S)"), re.compile(r"\s+(?=\S)"))  # noqa: RUF001


def passage(pages: Mapping[int, str], chunk: Chunk) -> str:
    """Return the chunk's text from the texts of its pages by number; equal to `chunk.text` if they are the same pages.

    Raises KeyError when a page of the chunk is missing.
    """
    texts = [pages[number] for number in range(chunk.page_from, chunk.page_to + 1)]
    texts[-1] = texts[-1][: chunk.char_end]
    texts[0] = texts[0][chunk.char_start :]
    return PAGE_BREAK.join(texts)


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts pages into chunks of at most `max_tokens` estimated tokens.

    Neighbours share up to `overlap_tokens`. The same pages always give the same chunks.
    """

    max_tokens: int
    overlap_tokens: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_tokens < self.max_tokens < MODEL_MAX_TOKENS:
            raise ValueError(f"0 <= overlap_tokens < max_tokens < {MODEL_MAX_TOKENS} does not hold: {self}")

    @property
    def version(self) -> str:
        """Name everything the cut depends on besides the pages."""
        return f"{ALGORITHM}/{self.max_tokens}/{self.overlap_tokens}"

    def chunk_pages(self, pages: Iterable[Page]) -> Iterator[Chunk]:
        """Yield the chunks of a whole document in order; `pages` are all its pages, consecutive, empty ones included.

        Keeps one page and a few chunks in memory. No chunk is blank or begins or ends with white space; a document
        without text has none.
        """
        text = _PageText(pages)
        ordinal = tail = 0
        while cut := self._next_cut(text, tail):
            yield text.chunk(ordinal, cut)
            ordinal, tail = ordinal + 1, cut.tail
            text.skip(cut.length - cut.tail)

    def _next_cut(self, text: "_PageText", tail: int) -> "_Cut | None":
        """Cut the next passage, the first `tail` characters of which the last one had already."""
        most = self.max_tokens * _MAX_CHARACTERS_PER_TOKEN
        fresh = text.skip_blank(tail, most=most)
        window = text.peek(fresh + most + _LOOKAHEAD)
        if fresh == len(window):
            return None
        tokens = self._running_tokens(text.peek_kinds(len(window)))
        limit = int(tokens.searchsorted(np.float32(self.max_tokens), side="right"))
        first = _first_passage(window[fresh:], max(1, limit - fresh))
        length = len(_fitting(window[: fresh + len(first)]))
        if fresh and min(limit, length) <= fresh:  # the tail and the blank behind it leave no room
            text.skip(fresh)
            return self._next_cut(text, 0)
        return _Cut(length, whole_tokens(float(tokens[length - 1])), self._tail(window[:length], tokens))

    def _running_tokens(self, window: Kinds) -> Floats:
        """Return the running tokens of the window, or of a beginning that is more than a chunk."""
        usual = window[: self.max_tokens * _USUAL_CHARACTERS_PER_TOKEN]
        tokens = running_tokens(usual)
        if len(usual) < len(window) and tokens[-1] <= self.max_tokens:
            return running_tokens(window)
        return tokens

    def _tail(self, cut: str, tokens: Floats) -> int:
        """Return how many of the last characters the next chunk repeats: whole lines, sentences or words."""
        allowed = tokens[len(cut) - 1] - self.overlap_tokens
        first = int(tokens[: len(cut)].searchsorted(allowed, side="left")) + 1
        if not self.overlap_tokens or allowed <= 0:
            return 0
        starts = (start.search(cut, first - 1) for start in _TAIL_STARTS)
        return next((len(cut) - start.end() for start in starts if start), 0)


@dataclass(frozen=True, slots=True)
class _Cut:
    """`length` characters from the reader's position on, the last `tail` of which the next chunk repeats."""

    length: int
    token_count: int
    tail: int


def _first_passage(window: str, capacity: int) -> str:
    """Return the longest well-bounded beginning of `window` within `capacity` characters, trimmed."""
    text = window[: capacity + _LOOKAHEAD]
    return TextSplitter(capacity, trim=False).chunks(text)[0].rstrip()


def _fitting(text: str) -> str:
    """Return the longest well-bounded beginning of a passage that the models accept: nearly always all of it."""
    if len(text.encode()) <= MODEL_MAX_TOKENS:
        return text
    return _exact_splitter().chunks(text)[0].rstrip()


@lru_cache(maxsize=1)
def _exact_splitter() -> TextSplitter:
    """Build the splitter that counts real tokens: slow, so only for passages that may be too long for the model."""
    return TextSplitter.from_tiktoken_model("text-embedding-3-small", MODEL_MAX_TOKENS, trim=False)


class _PageText:
    """Reads the joined text of the pages forward, knowing which page each character stands on."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._pages = iter(pages)
        self._buffer = ""
        self._kinds = kinds_of("")  # of the characters in the buffer
        self._at = 0  # position in the buffer; a position in the document is `_at + _dropped`
        self._dropped = 0
        self._starts: list[int] = []  # where each page so far starts in the document
        self._numbers: list[int] = []

    def peek(self, count: int) -> str:
        """Return the next `count` characters, fewer at the end of the document."""
        while len(self._buffer) - self._at < count and self._read_page():
            pass
        return self._buffer[self._at : self._at + count]

    def peek_kinds(self, count: int) -> Kinds:
        """Return the kinds of the next `count` characters, which were peeked at before."""
        return self._kinds[self._at : self._at + count]

    def skip(self, count: int) -> None:
        """Move on by `count` characters."""
        self._at += count

    def skip_blank(self, keep: int, *, most: int) -> int:
        """Return how many characters from here on are kept ones or blank; skip them when they are over `most`.

        With `keep` 0, skip the blank.
        """
        while True:
            found = _WORD.search(self._buffer, self._at + keep)
            fresh = (found.start() if found else len(self._buffer)) - self._at
            if not keep or fresh > most:
                self._at, keep, fresh = self._at + fresh, 0, 0
            if found or not self._read_page():
                return fresh

    def chunk(self, ordinal: int, cut: _Cut) -> Chunk:
        """Build the chunk that begins here."""
        text = self._buffer[self._at : self._at + cut.length]
        page_from, char_start = self._place(self._at)
        page_to, char_last = self._place(self._at + cut.length - 1)
        digest = sha256(text.encode()).digest()
        return Chunk(ordinal, text, digest, page_from, page_to, char_start, char_last + 1, cut.token_count)

    def _place(self, at: int) -> tuple[int, int]:
        """Return page number and position within the page's text of a character in the buffer."""
        position = at + self._dropped
        index = bisect_right(self._starts, position) - 1
        return self._numbers[index], position - self._starts[index]

    def _read_page(self) -> bool:
        page = next(self._pages, None)
        if page is None:
            return False
        joined = PAGE_BREAK * bool(self._numbers) + page.text
        self._kinds = np.concatenate((self._kinds[self._at :], kinds_of(joined)))
        self._buffer, self._dropped, self._at = self._buffer[self._at :] + joined, self._dropped + self._at, 0
        self._starts.append(self._dropped + len(self._buffer) - len(page.text))
        self._numbers.append(page.number)
        return True
