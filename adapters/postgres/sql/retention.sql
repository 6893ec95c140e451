-- name: prune_jobs
-- Remove a bounded number of jobs that ended well or were cancelled, with their attempts.
DELETE FROM jobs WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM jobs WHERE state IN ('succeeded', 'cancelled') AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_failed_jobs
-- Remove a bounded number of dead letters, with their attempts.
DELETE FROM jobs WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM jobs WHERE state = 'failed' AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_events
-- Remove a bounded number of old events.
DELETE FROM job_events WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM job_events WHERE at < now() - %(age)s::interval
    ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_ticks
-- Remove a bounded number of old ticks.
DELETE FROM schedule_ticks WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM schedule_ticks WHERE tick < now() - %(age)s::interval ORDER BY tick LIMIT %(limit)s))

-- name: prune_parser_deaths
-- Forget a bounded number of old deaths: a file may be tried again after that long. The table is small.
DELETE FROM parser_deaths WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM parser_deaths WHERE last_at < now() - %(age)s::interval LIMIT %(limit)s))

-- name: prune_webhooks
-- Remove a bounded number of webhooks that were delivered.
DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM webhook_deliveries WHERE state = 'delivered' AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_failed_webhooks
-- Remove a bounded number of webhooks that were not delivered.
DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM webhook_deliveries
    WHERE state IN ('failed', 'discarded') AND finished_at < now() - %(age)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_exports
-- Remove a bounded number of exports whose files have been gone for some time.
DELETE FROM exports WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM exports WHERE expires_at < now() - %(age)s::interval
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: prune_notifications
-- Remove a bounded number of old notifications.
DELETE FROM notifications WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM notifications WHERE created_at < now() - %(age)s::interval
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
