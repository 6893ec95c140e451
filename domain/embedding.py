"""What is true of embeddings whoever computes them: how texts are grouped into requests, what a good answer is."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from domain.errors import FailureCode, PermanentError, TransientError
from domain.ports import ChunkText, Embedder, EmbeddingLimits, Embeddings, Vectors

Item = TypeVar("Item")


def plan_batches(
    items: Iterable[Item], limits: EmbeddingLimits, *, tokens: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield the items in order, grouped into requests that keep the limits; no group is empty.

    Reads `items` as it goes. Raises PermanentError (embedding_rejected) at the first item that no request may carry.
    """
    batch: list[Item] = []
    total = 0
    for item in items:
        count = _checked_count(tokens(item), limits)
        if batch and (len(batch) == limits.inputs_per_request or total + count > limits.tokens_per_request):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += count
    if batch:
        yield batch


def _checked_count(count: int, limits: EmbeddingLimits) -> int:
    most = min(limits.tokens_per_input, limits.tokens_per_request)
    if count > most:
        message = f"A passage has {count} tokens and the embedding model takes {most}. Lower CHUNK_TOKENS."
        raise PermanentError(FailureCode.EMBEDDING_REJECTED, message)
    return count


def embed_side_by_side(
    embedder: Embedder, batches: Iterable[list[ChunkText]], *, checkpoint: Callable[[], None]
) -> Iterator[tuple[list[ChunkText], Embeddings]]:
    """Yield each batch with what its request has brought, in order; `requests_at_a_time` are under way at once.

    Before each request `checkpoint` may object. After a failure, or an objection, nothing more is asked for. What is
    under way has been paid for, so it is yielded before that is raised.
    """
    at_a_time, embed = embedder.limits.requests_at_a_time, partial(_embed, embedder, checkpoint)
    beginning, rest = _divide(batches, at_a_time)
    if at_a_time == 1 or len(beginning) == 1:
        yield from ((batch, embed(batch)) for batch in chain(beginning, rest))
        return
    pool = ThreadPoolExecutor(at_a_time, thread_name_prefix="embedding")
    try:
        under_way = deque((batch, pool.submit(embed, batch)) for batch in beginning)
        failures = []
        while under_way:
            batch, request = under_way.popleft()
            if error := request.exception():
                failures.append(error)
                continue
            for following in () if failures else islice(rest, 1):
                under_way.append((following, pool.submit(embed, following)))
            yield batch, request.result()
        if failures:
            raise failures[0]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _divide(items: Iterable[Item], count: int) -> tuple[list[Item], Iterator[Item]]:
    rest = iter(items)
    return list(islice(rest, count)), rest


def _embed(embedder: Embedder, checkpoint: Callable[[], None], batch: Sequence[ChunkText]) -> Embeddings:
    checkpoint()
    return embedder.embed([text.text for text in batch])


def check_texts(texts: Sequence[str]) -> None:
    """Raise PermanentError (embedding_rejected) if a text is empty: no model has a vector for it."""
    if "" in texts:
        message = f"Text {texts.index('') + 1} of {len(texts)} to embed is empty."
        raise PermanentError(FailureCode.EMBEDDING_REJECTED, message)


def unit_vectors(raw: Sequence[Vectors], *, count: int, dimensions: int) -> Vectors:
    """Return the vectors scaled to length 1, as one array of shape (count, dimensions).

    Raises PermanentError when their length is not `dimensions` (a wrong setting) and TransientError when there are
    not `count` of them or one is not finite or zero (a sick server).
    """
    if len(raw) != count:
        raise _unusable(f"{len(raw)} vectors for {count} texts")
    lengths = {len(vector) for vector in raw} - {dimensions}
    if lengths:
        raise _wrong_dimensions(lengths.pop(), dimensions)
    vectors: Vectors = np.array(raw, dtype=np.float32).reshape(count, dimensions)
    # As doubles, since squares of floats overflow, but in numpy's small buffer: copies of a large batch are dear.
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.isfinite(norms).all() or not norms.all():
        raise _unusable("a vector that is zero or not finite")
    np.divide(vectors, norms[:, np.newaxis], out=vectors, casting="same_kind")
    return vectors


def _unusable(what: str) -> TransientError:
    return TransientError(FailureCode.EMBEDDING_UNAVAILABLE, f"The embedding model answered with {what}.")


def _wrong_dimensions(found: int, wanted: int) -> PermanentError:
    message = f"The embedding model's vectors have {found} dimensions, not {wanted}. Set EMBEDDING_DIMENSIONS={found}."
    return PermanentError(FailureCode.EMBEDDING_REJECTED, message)
