-- name: prune_jobs
-- Remove a bounded number of jobs that ended well or were cancelled, with their attempts.
DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE state IN ('succeeded', 'cancelled') AND finished_at < now() - %(age)s
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_failed_jobs
-- Remove a bounded number of dead letters, with their attempts.
DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE state = 'failed' AND finished_at < now() - %(age)s
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_events
-- Remove a bounded number of old events.
DELETE FROM job_events WHERE id IN (SELECT id FROM job_events WHERE at < now() - %(age)s ORDER BY at LIMIT %(limit)s)

-- name: prune_ticks
-- Remove a bounded number of old ticks.
DELETE FROM schedule_ticks WHERE (actor, tick) IN (
    SELECT actor, tick FROM schedule_ticks WHERE tick < now() - %(age)s ORDER BY tick LIMIT %(limit)s)

-- name: prune_parser_deaths
-- Forget a bounded number of old deaths: a file may be tried again after that long.
DELETE FROM parser_deaths WHERE (content_sha256, parser_version) IN (
    SELECT content_sha256, parser_version FROM parser_deaths WHERE last_at < now() - %(age)s LIMIT %(limit)s)
