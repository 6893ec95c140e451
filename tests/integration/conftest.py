"""The rails over this test's own database."""

from collections.abc import Iterator

import pytest
from adapters.postgres.pool import LazyPool, connect
from tests.builders import Rails


@pytest.fixture
def rails(database_url: str) -> Iterator[Rails]:
    pool = LazyPool(database_url, size=4)
    with connect(database_url) as connection:
        yield Rails(database_url, pool, connection)
    pool.close()
