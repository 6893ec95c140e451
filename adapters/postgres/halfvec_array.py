"""Many vectors as one parameter: encoded as a whole, several times as fast as one by one."""

import struct

import numpy as np
import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from domain.ports import Vectors

#: PostgreSQL's array_send: dimensions, whether there are NULLs, type of the elements; then length and lower bound.
_HEAD = struct.Struct("!iiIii")


class HalfvecArray:
    """Vectors, shape (count, dimensions), on their way into a parameter that is cast to `halfvec[]`."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def encode(self, halfvec_oid: int) -> bytes:
        """Return PostgreSQL's binary form; each element is, in pgvector's halfvec_send, dimensions, 0, the numbers."""
        count, dimensions = self.vectors.shape
        element = [("size", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("numbers", ">f2", (dimensions,))]
        elements = np.zeros(count, element)
        elements["size"], elements["dimensions"], elements["numbers"] = 4 + 2 * dimensions, dimensions, self.vectors
        return _HEAD.pack(1, 0, halfvec_oid, count, 1) + elements.tobytes()


class _HalfvecArrayDumper(Dumper):
    """Sends no type of its own: the statement's cast names it."""

    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        info = context.adapters.types.get("halfvec") if context else None
        if info is None:
            raise psycopg.ProgrammingError("the connection does not know halfvec: register_vector was not called")
        self._oid = info.oid

    def dump(self, obj: HalfvecArray) -> Buffer:
        return obj.encode(self._oid)


psycopg.adapters.register_dumper(HalfvecArray, _HalfvecArrayDumper)
