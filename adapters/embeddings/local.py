"""Embeddings without network or key: the model inside the `wordllama` wheel.

Only the wheel's two files are used. Importing the package itself takes 0.9 s, gives the root logger a handler of its
own and pads every batch; reading the files gives the same vectors many times as fast (`words` has the reason).
"""

import os
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from adapters.embeddings.words import Ids, WordIds
from domain.embedding import check_texts, unit_vectors
from domain.errors import SettingsError
from domain.ports import EmbeddingLimits, Embeddings, Vectors

#: The model was trained so that its first 64 or 128 numbers are a good, shorter vector.
DIMENSIONS = (64, 128, 256)

_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")

#: Bounds memory, not quality: the vector is the mean of all its tokens' vectors.
_LIMITS = EmbeddingLimits(inputs_per_request=1024, tokens_per_request=500_000, tokens_per_input=100_000)

#: Tokens whose vectors are gathered and added at once: a passage of the usual length, 512 kB, cached by the processor.
_ROWS = 512
_ONES = np.ones(_ROWS, np.float32)


class LocalEmbedder:
    """Averages word vectors: weaker than a transformer, but some thousand texts a second on one core, in English.

    Safe to share between threads. Tokenizes on the calling thread, so that it takes one core, and lets others run.
    """

    def __init__(self, dimensions: int = 256) -> None:
        if dimensions not in DIMENSIONS:
            raise SettingsError(f"EMBEDDING_DIMENSIONS is wrong: the local model has 64, 128 or 256, not {dimensions}")
        self._files = _model_files()
        self.dimensions = dimensions
        self._scratch = _Scratch(dimensions)

    @property
    def model(self) -> str:
        """Name provider and model."""
        return f"local/wordllama-{self.dimensions}"

    @property
    def limits(self) -> EmbeddingLimits:
        """Return what one call of `embed` may carry."""
        return _LIMITS

    @property
    def is_free(self) -> bool:
        """Say that vectors cost nothing but a moment of this process."""
        return True

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts; the first call in a process reads the model (0.1 to 0.4 s, 60 MB)."""
        check_texts(texts)
        words, vectors = _load(self._files, self.dimensions)
        ids = words.of(texts)
        sums = [self._sum(vectors, text_ids) for text_ids in ids]  # as long as means, once they are of length 1
        unit = unit_vectors(sums, count=len(texts), dimensions=self.dimensions)
        return Embeddings(unit, tokens=sum(map(len, ids)))

    def _sum(self, vectors: Vectors, ids: Ids) -> Vectors:
        """Add up the vectors of the ids: as a product, which numpy computes three times as fast as a sum."""
        total = np.zeros(self.dimensions, np.float32)
        for first in range(0, len(ids), _ROWS):
            some = ids[first : first + _ROWS]
            rows = vectors.take(some, axis=0, out=self._scratch.rows[: len(some)], mode="clip")
            total += _ONES[: len(some)] @ rows
        return total


class _Scratch(threading.local):
    """The rows to add up, one buffer a thread: to get fresh memory for each text costs more than to fill it."""

    def __init__(self, dimensions: int) -> None:
        self.rows = np.empty((_ROWS, dimensions), np.float32)


def _model_files() -> Path:
    package = find_spec("wordllama")
    if package is None or not package.origin:
        raise SettingsError(
            "EMBEDDING_PROVIDER=local needs the package wordllama: pip install 'headrace[local]', "
            "or set EMBEDDING_PROVIDER=openai"
        )
    return Path(package.origin).parent


@cache
def _load(files: Path, dimensions: int) -> tuple[WordIds, Vectors]:
    # Its own threads would take every core from the other workers, and from the database.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from safetensors.numpy import load_file  # noqa: PLC0415 - the extra `local` may not be installed
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(files / _TOKENIZER))
    vectors = load_file(files / _WEIGHTS)["embedding.weight"][:, :dimensions].astype(np.float32)
    return WordIds(tokenizer), vectors
