"""Many vectors encoded as a whole are what pgvector makes of each."""

import struct

import numpy as np
import pytest
from pgvector import HalfVector

from adapters.postgres.halfvec_array import HalfvecArray


@pytest.mark.parametrize(("count", "dimensions"), [(1, 1), (3, 8), (40, 256)])
def test_the_elements_are_pgvectors_own(count: int, dimensions: int) -> None:
    vectors = np.random.default_rng(count).standard_normal((count, dimensions)).astype(np.float32)

    encoded = HalfvecArray(vectors).encode(4711)

    elements = b"".join(struct.pack("!i", 4 + 2 * dimensions) + HalfVector(vector).to_binary() for vector in vectors)
    assert encoded == struct.pack("!iiIii", 1, 0, 4711, count, 1) + elements
