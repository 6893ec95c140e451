"""Embeddings without network or key: the model inside the `wordllama` wheel.

Only the wheel's two files are used. Importing the package itself takes 0.9 s, gives the root logger a handler of its
own and pads every batch; reading the files gives the same vectors three times as fast.
"""

import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domain.embedding import check_texts, unit_vectors
from domain.errors import SettingsError
from domain.ports import EmbeddingLimits, Embeddings, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: The model was trained so that its first 64 or 128 numbers are a good, shorter vector.
DIMENSIONS = (64, 128, 256)

_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")

#: Bounds memory, not quality: the vector is the mean of all its tokens' vectors.
_LIMITS = EmbeddingLimits(inputs_per_request=1024, tokens_per_request=500_000, tokens_per_input=100_000)


class LocalEmbedder:
    """Averages word vectors: weaker than a transformer, but some thousand texts a second on one core, in English.

    Safe to share between threads. Tokenizes on the calling thread, so that it takes one core, and lets others run.
    """

    def __init__(self, dimensions: int = 256) -> None:
        if dimensions not in DIMENSIONS:
            raise SettingsError(f"EMBEDDING_DIMENSIONS is wrong: the local model has 64, 128 or 256, not {dimensions}")
        self._files = _model_files()
        self.dimensions = dimensions

    @property
    def model(self) -> str:
        """Name provider and model."""
        return f"local/wordllama-{self.dimensions}"

    @property
    def limits(self) -> EmbeddingLimits:
        """Return what one call of `embed` may carry."""
        return _LIMITS

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts; the first call in a process reads the model (0.1 to 0.4 s, 60 MB)."""
        check_texts(texts)
        tokenizer, words = _load(self._files)
        ids = [found.ids for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        means = [_mean(words, text_ids, self.dimensions) for text_ids in ids]
        vectors = unit_vectors(means, count=len(texts), dimensions=self.dimensions)
        return Embeddings(vectors, tokens=sum(map(len, ids)))


def _mean(words: Vectors, ids: list[int], dimensions: int) -> Vectors:
    mean: Vectors = words.take(ids, axis=0, mode="clip")[:, :dimensions].mean(axis=0)
    return mean


def _model_files() -> Path:
    package = find_spec("wordllama")
    if package is None or not package.origin:
        raise SettingsError(
            "EMBEDDING_PROVIDER=local needs the package wordllama: pip install 'headrace[local]', "
            "or set EMBEDDING_PROVIDER=openai"
        )
    return Path(package.origin).parent


@cache
def _load(files: Path) -> tuple["Tokenizer", Vectors]:
    # Its own threads would take every core from the other workers, and from the database.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from safetensors.numpy import load_file  # noqa: PLC0415 - the extra `local` may not be installed
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(files / _TOKENIZER))
    words: Vectors = load_file(files / _WEIGHTS)["embedding.weight"].astype(np.float32)
    return tokenizer, words
