"""The local model as its own package serves it: what every project has that installs `wordllama`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from domain.ports import EmbeddingLimits, Embeddings, Vectors


class WordLlamaModel:
    """`WordLlama.load().embed(texts, norm=True)`: the same vectors as Headrace's own reader of the same files.

    Its batches of 64, its padding and its tokenizer's threads are left as they come.
    """

    def __init__(self, dimensions: int) -> None:
        from wordllama import WordLlama, wordllama

        # Offline, `load` finds the tokenizer inside the wheel only when the wheel is named as its cache.
        here = Path(str(wordllama.__file__)).parent
        self._model = WordLlama.load(dim=dimensions, cache_dir=here, disable_download=True)
        self.dimensions = dimensions
        self.model = "wordllama"
        self.is_free = True
        self.limits = EmbeddingLimits(inputs_per_request=1024, tokens_per_request=500_000, tokens_per_input=100_000)

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts; what they cost is not counted."""
        vectors: Vectors = np.asarray(self._model.embed(list(texts), norm=True), np.float32)
        return Embeddings(vectors, tokens=0)
