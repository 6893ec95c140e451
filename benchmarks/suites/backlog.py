"""What the relay pays for a step when few jobs wait and when many do; and what cleaning up among many rows touches."""

import time
from contextlib import ExitStack, closing
from statistics import median

import psycopg

from adapters.postgres.dispatch import PostgresDispatch
from adapters.postgres.pool import LazyPool, connect
from adapters.postgres.usage import PostgresReservations
from benchmarks.bench import Bench, Figure
from benchmarks.contenders.headrace_places import workspace_id
from benchmarks.servers import headrace_settings, prepare_headrace

QUEUE, TENANTS, BATCH, STEPS = "bench", 10, 50, 10
FREE_AT_A_TIME = 1_000

JOBS = """
INSERT INTO jobs (id, queue, actor, message, workspace_id)
SELECT uuidv7(), %(queue)s, 'noop',
       jsonb_build_object('queue_name', %(queue)s::text, 'actor_name', 'noop', 'args', '[]'::jsonb, 'options',
                          '{}'::jsonb, 'kwargs', '{}'::jsonb, 'message_id', number::text, 'message_timestamp', 0),
       (%(tenants)s::uuid[])[1 + number %% %(count)s]
FROM generate_series(1, %(jobs)s) AS number
"""
RESERVATIONS = """
INSERT INTO token_reservations (id, workspace_id, tokens, expires_at)
SELECT uuidv7(), %(workspace)s, 1000,
       now() + CASE WHEN number <= %(stale)s THEN interval '-1 hour' ELSE interval '1 day' END
FROM generate_series(1, %(rows)s) AS number ORDER BY random()
"""
TOUCHED = """
SELECT n_tup_upd + n_tup_del AS touched, coalesce(idx_scan, 0) AS index_scans, seq_scan AS table_scans
FROM pg_stat_user_tables WHERE relname = 'token_reservations'
"""


def dispatch(bench: Bench) -> Figure:
    """Take steps of the relay in turns over both backlogs."""
    steps: dict[int, list[float]] = {size: [] for size in bench.sizes.pending}
    with ExitStack() as stack:
        tables = {size: _with_backlog(bench, stack, size) for size in bench.sizes.pending}
        for _ in range(STEPS):
            for size, table in tables.items():
                steps[size].append(step(table))
    small, large = (median(steps[size]) for size in bench.sizes.pending)
    names = {f"ms_per_step_with_{size}_pending": round(median(steps[size]) * 1e3, 2) for size in bench.sizes.pending}
    return {**names, "jobs_per_step": BATCH, "ratio": round(large / small, 3)}


def step(table: PostgresDispatch) -> float:
    """Do what the relay does each time it wakes up; return the seconds."""
    began = time.perf_counter()
    for queue in table.queues():
        assert len(table.pick_due(queue, BATCH)) == BATCH
    table.next_due()
    return time.perf_counter() - began


def _with_backlog(bench: Bench, stack: ExitStack, size: int) -> PostgresDispatch:
    url = stack.enter_context(bench.servers.database())
    prepare_headrace(headrace_settings(url, bench.servers))
    tenants = [workspace_id(number) for number in range(TENANTS)]
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(JOBS, {"queue": QUEUE, "tenants": tenants, "count": TENANTS, "jobs": size})
        connection.execute("VACUUM ANALYZE jobs")
        connection.execute("CHECKPOINT")
    table = PostgresDispatch(stack.enter_context(closing(connect(url))))
    step(table)
    return table


def cleanup(bench: Bench) -> Figure:
    """Free the stale ones among many reservations, a bounded number at a time, as the sweeper does."""
    sizes = bench.sizes
    with bench.servers.database() as url:
        prepare_headrace(headrace_settings(url, bench.servers))
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            rows = {"workspace": workspace_id(0), "rows": sizes.reservations, "stale": sizes.stale_reservations}
            connection.execute(RESERVATIONS, rows)
            connection.execute("VACUUM ANALYZE token_reservations")
            steps = free_all(url)
            time.sleep(1.0)  # statistics arrive a moment later
            touched = connection.execute(TOUCHED).fetchone()
    return {
        "reservations": sizes.reservations,
        "stale": sizes.stale_reservations,
        "freed": sum(count for count, _ in steps),
        "rows_touched": int(touched[0]) if touched else None,
        "seconds": round(sum(seconds for _, seconds in steps), 3),
        "slowest_step_ms": round(max(seconds for _, seconds in steps) * 1e3, 1),
    }


def free_all(url: str) -> list[tuple[int, float]]:
    """Free until nothing is stale; return how many rows and seconds each step took."""
    pool, steps = LazyPool(url, size=1), []
    reservations = PostgresReservations(pool)
    try:
        while not steps or steps[-1][0] == FREE_AT_A_TIME:
            began = time.perf_counter()
            count = len(reservations.free_stale(FREE_AT_A_TIME))
            steps.append((count, time.perf_counter() - began))
    finally:
        pool.close()
    return steps
