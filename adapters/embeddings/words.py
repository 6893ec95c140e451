"""Token ids of texts, word by word: merging letters to tokens is what costs, and most words have been met before."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.intp]

#: Letters of remembered words, some 80,000 of them: 15 MB. With more, all are forgotten, and the memory starts anew.
MOST_LETTERS = 800_000

#: Words in one call of the tokenizer: fewer pay for the call, more are slower to merge.
_WORDS_PER_CALL = 100

#: The model's tokens that are no words. Behind one, it reads as if the text began there.
_SPECIAL = re.compile("</?s>|<unk>")


class WordIds:
    """Tokenizes as `tokenizer` does, several times as fast. Safe to share between threads.

    The tokenizer must be that of Llama 2, or like it: it writes spaces as "▁", has no token with a "▁" or a line break
    behind another character, and nothing but its merges in between.
    """

    def __init__(self, tokenizer: "Tokenizer", most_letters: int = MOST_LETTERS) -> None:
        self._tokenizer = tokenizer
        self._most_letters = most_letters
        self._line_break = self._encode(["\n"])[0][-1]
        self._known: dict[str, bytes] = {}
        self.letters = 0

    def of(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, none of which is empty."""
        words = [[] if _SPECIAL.search(text) else split_words(text) for text in texts]
        ids_of = self._learn(words).__getitem__
        return [
            np.frombuffer(b"".join(map(ids_of, found)), np.intp) if found else self._encode([text])[0]
            for text, found in zip(texts, words, strict=True)
        ]

    def _learn(self, texts: list[list[str]]) -> dict[str, bytes]:
        """Return a memory with all these words in it; other threads may add to it, and nobody takes away."""
        if self.letters > self._most_letters:
            self._known, self.letters = {}, 0
        known = self._known
        if new := list({word for words in texts for word in words if word not in known}):
            known.update(zip(new, self._ids_of_words(new), strict=True))
            self.letters += sum(map(len, new))
        return known

    def _ids_of_words(self, words: list[str]) -> Iterator[bytes]:
        """Yield the ids of each word, as many words to a call as is fastest, each on a line of its own."""
        lines = [word if word.startswith("\n") else "\n " + word for word in words]
        calls = ["".join(lines[first : first + _WORDS_PER_CALL]) for first in range(0, len(lines), _WORDS_PER_CALL)]
        answers = [ids[1:] for ids in self._encode(calls)]  # without the space that the tokenizer puts before a text
        ids = np.concatenate([*answers, [self._line_break]])
        starts = np.flatnonzero(ids == self._line_break)
        for line, word, (start, end) in zip(lines, words, pairwise(starts.tolist()), strict=True):
            yield ids[start + (line is not word) : end].tobytes()

    def _encode(self, texts: list[str]) -> list[Ids]:
        answers = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(answer.ids, np.intp) for answer in answers]


def split_words(text: str) -> list[str]:
    """Cut the text before each line break and each first space of several. The cut takes the space away.

    A word that begins with a line break stands for itself, every other one for a space and itself.
    """
    single = f" {text}".replace("  ", " \u2581").replace("\u2581 ", "\u2581\u2581")
    return single.replace("\n", " \n").split(" ")[1:]
