"""The rails, over a database that a module's tests share and leave empty for each other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters.postgres.pool import LazyPool, connect
from tests.builders import Rails
from tests.conftest import _new_database

EMPTY = """
DELETE FROM jobs; DELETE FROM job_events; DELETE FROM schedule_ticks; DELETE FROM documents; DELETE FROM chunks;
DELETE FROM chunk_embeddings; DELETE FROM workspace_daily_usage; DELETE FROM token_reservations;
DELETE FROM parser_deaths; DELETE FROM unowned_blobs; DELETE FROM api_keys; DELETE FROM idempotency_keys;
DELETE FROM webhook_endpoints; DELETE FROM live_tickets; DELETE FROM media_files; DELETE FROM exports;
DELETE FROM mail_suppressions; DELETE FROM mail_paces; DELETE FROM erasures; DELETE FROM notifications;
DELETE FROM notification_preferences;
DELETE FROM workspaces WHERE name NOT IN ('system', 'default');
"""


@pytest.fixture(scope="module")
def module_rails(postgres_url: str, template_database: str) -> Iterator[Rails]:
    """A database costs a third of a second, emptying one a hundredth."""
    with _new_database(postgres_url, template_database) as url, _open(url) as rails:
        yield rails


@pytest.fixture
def rails(module_rails: Rails) -> Iterator[Rails]:
    module_rails.connection.execute(EMPTY)
    with connect(module_rails.url) as connection:
        yield Rails(module_rails.url, module_rails.pool, connection)


@pytest.fixture
def own_rails(database_url: str) -> Iterator[Rails]:
    """The rails over a database that this test may alter."""
    with _open(database_url) as rails:
        yield rails


@contextmanager
def _open(url: str) -> Iterator[Rails]:
    pool = LazyPool(url, size=4)
    with connect(url) as connection:
        yield Rails(url, pool, connection)
    pool.close()
