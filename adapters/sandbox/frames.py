"""How a child's messages travel: kind, length, payload. Never pickle, for the child is not trusted."""

import os
import struct

#: Kind and length of what follows.
HEADER = struct.Struct("!cI")

#: Exit status of a child that ran out of memory: sending a message might need memory again.
OUT_OF_MEMORY = 77


def frame(kind: bytes, payload: bytes) -> bytes:
    """Put a message into its frame."""
    return HEADER.pack(kind, len(payload)) + payload


def send(results: int, framed: bytes) -> None:
    """Write a frame to the pipe at once; a file object would buffer it, and cost a child 20 pages of memory."""
    while framed:
        framed = framed[os.write(results, framed) :]
