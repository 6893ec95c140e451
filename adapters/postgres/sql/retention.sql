-- name: prune_jobs
-- Remove a bounded number of jobs that ended well or were cancelled, with their attempts.
WITH old AS MATERIALIZED (  -- as a subquery the planner may run it again and pass the limit
    SELECT id FROM jobs WHERE state IN ('succeeded', 'cancelled') AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs USING old WHERE jobs.id = old.id

-- name: prune_failed_jobs
-- Remove a bounded number of dead letters, with their attempts.
WITH old AS MATERIALIZED (
    SELECT id FROM jobs WHERE state = 'failed' AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs USING old WHERE jobs.id = old.id

-- name: prune_events
-- Remove a bounded number of old events.
WITH old AS MATERIALIZED (
    SELECT id FROM job_events WHERE at < now() - %(age)s::interval ORDER BY at LIMIT %(limit)s
)
DELETE FROM job_events USING old WHERE job_events.id = old.id

-- name: prune_ticks
-- Remove a bounded number of old ticks.
WITH old AS MATERIALIZED (
    SELECT actor, tick FROM schedule_ticks WHERE tick < now() - %(age)s::interval ORDER BY tick LIMIT %(limit)s
)
DELETE FROM schedule_ticks t USING old WHERE (t.actor, t.tick) = (old.actor, old.tick)

-- name: prune_parser_deaths
-- Forget a bounded number of old deaths: a file may be tried again after that long. The table is small.
WITH old AS MATERIALIZED (
    SELECT content_sha256, parser_version FROM parser_deaths WHERE last_at < now() - %(age)s::interval LIMIT %(limit)s
)
DELETE FROM parser_deaths d USING old
WHERE (d.content_sha256, d.parser_version) = (old.content_sha256, old.parser_version)
