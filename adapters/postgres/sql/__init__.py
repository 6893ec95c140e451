"""Load named queries: `-- name: verb_noun` starts one, the sentence below it says what it does."""

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load_queries(aggregate: str) -> dict[str, LiteralString]:
    """Return the queries of `<aggregate>.sql` by name. The files are ours, hence literal to the type checker."""
    text = files(__name__).joinpath(f"{aggregate}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: cast(LiteralString, query.strip()) for name, query in zip(parts[::2], parts[1::2], strict=True)}
