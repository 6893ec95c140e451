"""The workspaces that a run uploads into."""

from contextlib import closing
from uuid import UUID

import psycopg

WORKSPACE_BASE = 0xBE7C_0000
WORKSPACES = 64

_INSERT = "INSERT INTO workspaces (id, name) SELECT id, 'bench ' || id FROM unnest(%s::uuid[]) AS new (id)"


def workspace_id(number: int) -> UUID:
    """Return the id of the run's nth workspace."""
    return UUID(int=WORKSPACE_BASE + number)


def make_workspaces(url: str) -> None:
    """Create all of them."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(_INSERT, [[workspace_id(number) for number in range(WORKSPACES)]])
