"""Keys of blobs: what one is made of, and whose it is."""

import re
from uuid import UUID

#: Names that mean the same in every store; `#` and `..` mean something else in a folder.
_KEY = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.=-]*)(?:/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")
LONGEST_KEY = 1000


def is_key(text: str) -> bool:
    """Tell whether a blob can be called so."""
    return len(text) <= LONGEST_KEY and _KEY.fullmatch(text) is not None


def is_key_of(workspace_id: UUID, text: str) -> bool:
    """Tell whether a workspace's blob can be called so: its keys begin with its id, so nobody names another's file."""
    return is_key(text) and text.startswith(f"{workspace_id}/")
