"""A worker process starts whole or not at all."""

from types import SimpleNamespace
from typing import Any

import pytest

from domain.errors import SchemaError, SettingsError
from middleware.attempt import HeldLeases
from middleware.runtime import RuntimeLifecycle, WorkerThreads
from tests.builders import TTL

WORKER: Any = SimpleNamespace(worker_threads=1, consumer_whitelist={"test"}, queue_prefetch=0)


def fail_with(error: Exception) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("DATABASE_URL is missing"), 78),
        (SchemaError("older"), 78),
        (OSError("no space left on device"), 69),
        (LookupError("a bug"), 69),
    ],
)
def test_a_runtime_that_does_not_open_stops_the_boot(error: Exception, code: int) -> None:
    lifecycle: RuntimeLifecycle[None] = RuntimeLifecycle(fail_with(error))

    with pytest.raises(SystemExit) as stopped:
        lifecycle.before_worker_boot(SimpleNamespace(), WORKER)  # type: ignore[arg-type]

    assert stopped.value.code == code


@pytest.mark.parametrize("hook", ["before_worker_boot", "after_worker_boot"])
def test_threads_that_do_not_start_stop_the_boot(hook: str) -> None:
    refuse = fail_with(RuntimeError("can't start new thread"))
    threads = WorkerThreads(
        open_leases=refuse,
        open_dispatch=refuse,
        hints=SimpleNamespace(),  # type: ignore[arg-type]
        held=HeldLeases(),
        heartbeat=TTL,
        lease_ttl=TTL,
        batch_size=1,
        interval=TTL,
        pool_stats=dict,
        open_folder=refuse,
        keep_exporter=refuse,
    )
    broker = SimpleNamespace(get_declared_queues=refuse)

    with pytest.raises(SystemExit) as stopped:
        getattr(threads, hook)(broker, WORKER)

    assert stopped.value.code == 69
