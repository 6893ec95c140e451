-- name: lock_endpoints
-- Let those who add endpoints to a workspace wait for each other until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('webhook endpoints of ' || %(workspace_id)s::text, 0))

-- name: count_endpoints
-- Count the endpoints of a workspace.
SELECT count(*) FROM webhook_endpoints WHERE workspace_id = %(workspace_id)s

-- name: add_endpoint
-- Add an endpoint, which has no secret yet.
INSERT INTO webhook_endpoints (id, workspace_id, url, events, description)
VALUES (%(id)s, %(workspace_id)s, %(url)s, %(events)s, %(description)s)

-- name: hold_endpoint
-- Hold an endpoint of the workspace until the transaction ends.
SELECT id FROM webhook_endpoints WHERE id = %(id)s AND workspace_id = %(workspace_id)s FOR NO KEY UPDATE

-- name: expire_secrets
-- Let the newest secrets of an endpoint end with the grace, and remove the others.
WITH ranked AS (
    SELECT id, row_number() OVER (ORDER BY created_at DESC, id) AS place
    FROM webhook_secrets WHERE endpoint_id = %(id)s AND (expires_at IS NULL OR expires_at > now())
), gone AS (
    DELETE FROM webhook_secrets
    WHERE endpoint_id = %(id)s AND id NOT IN (SELECT id FROM ranked WHERE place < %(keep)s)
)
UPDATE webhook_secrets SET expires_at = least(expires_at, now() + %(grace)s)
WHERE id IN (SELECT id FROM ranked WHERE place < %(keep)s)

-- name: add_secret
-- Sign with this secret from now on.
INSERT INTO webhook_secrets (endpoint_id, secret, created_at) VALUES (%(id)s, %(secret)s, clock_timestamp())

-- name: enable_endpoint
-- Tell an endpoint of events again, and forget how it failed.
UPDATE webhook_endpoints SET disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL,
    paused_until = NULL
WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: disable_endpoint
-- Tell an endpoint of nothing more; the first reason stays.
UPDATE webhook_endpoints
SET disabled_at = coalesce(disabled_at, now()), disabled_reason = coalesce(disabled_reason, %(reason)s)
WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: delete_endpoint
-- Forget an endpoint with its secrets and deliveries; jobs that wait for them end without effect.
DELETE FROM webhook_endpoints WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: list_endpoints
-- Return the endpoints of a workspace, or the one with this id; no secret.
SELECT e.id, e.workspace_id, e.url, e.description, e.events, e.created_at, e.disabled_at, e.disabled_reason,
       e.failures, e.failing_since, e.delivered_at,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.state = 'pending') AS pending
FROM webhook_endpoints e
WHERE e.workspace_id = %(workspace_id)s AND (%(id)s::uuid IS NULL OR e.id = %(id)s)
ORDER BY e.created_at, e.id

-- name: list_deliveries
-- Return the newest deliveries of a workspace that fit, behind the one that a cursor names.
SELECT d.id, d.event_id, d.endpoint_id, d.event, d.data, d.state, d.attempts, d.status, d.error, d.job_id, d.created_at,
       d.attempted_at, d.finished_at
FROM webhook_deliveries d
WHERE d.workspace_id = %(workspace_id)s
  AND (%(endpoint_id)s::uuid IS NULL OR d.endpoint_id = %(endpoint_id)s)
  AND (%(state)s::text IS NULL OR d.state = %(state)s)
  AND (%(id)s::uuid IS NULL OR d.id = %(id)s)
  AND (%(before)s::timestamptz IS NULL OR (d.created_at, d.id) < (%(before)s, %(before_id)s::uuid))
ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s

-- name: replay_deliveries
-- Deliver again what fits, from the first attempt on, by new jobs; a job that waits or failed is superseded.
WITH chosen AS MATERIALIZED (
    SELECT d.id, d.job_id FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.workspace_id = %(workspace_id)s AND e.disabled_at IS NULL
      AND (%(ids)s::uuid[] IS NULL OR d.id = ANY (%(ids)s))
      AND (%(endpoint_id)s::uuid IS NULL OR d.endpoint_id = %(endpoint_id)s)
      AND (%(states)s::text[] IS NULL OR d.state = ANY (%(states)s))
      AND (%(newer_than)s::interval IS NULL OR d.created_at > now() - %(newer_than)s::interval)
    ORDER BY d.created_at, d.id LIMIT %(limit)s FOR NO KEY UPDATE OF d
), replayed AS (
    UPDATE webhook_deliveries d SET state = 'pending', attempts = 0, finished_at = NULL, error = NULL, status = NULL,
        job_id = enqueue_webhook(d.id, d.workspace_id)
    FROM chosen WHERE d.id = chosen.id
    RETURNING d.id, d.job_id, d.created_at, chosen.job_id AS old_job_id
), superseded AS (
    UPDATE jobs SET replayed_by = replayed.job_id FROM replayed
    WHERE jobs.id = replayed.old_job_id AND jobs.state = 'failed'
)
SELECT id, job_id FROM replayed ORDER BY created_at, id

-- name: begin_delivery
-- Return a delivery that this job may carry out, with all that an attempt needs to know of its endpoint.
SELECT d.id, d.workspace_id, d.event_id, d.event, d.data, d.created_at, d.attempts, d.endpoint_id, e.url,
       ARRAY(SELECT s.secret FROM webhook_secrets s
             WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
             ORDER BY s.created_at DESC) AS secrets,
       e.disabled_at IS NOT NULL AS disabled, e.failures,
       greatest(e.paused_until - now(), interval '0') AS paused,
       coalesce(now() - e.failing_since, interval '0') AS failing,
       (SELECT count(*) FROM jobs j JOIN webhook_deliveries o ON o.job_id = j.id
        WHERE j.state = 'running' AND j.queue = 'webhooks' AND j.workspace_id = d.workspace_id
          AND j.id < d.job_id AND o.endpoint_id = e.id) AS ahead,
       (SELECT count(*) FROM (SELECT FROM webhook_deliveries o
                              WHERE o.endpoint_id = e.id AND o.state = 'pending' LIMIT 1000) waits) AS waiting
FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
WHERE d.id = %(id)s AND d.workspace_id = %(workspace_id)s AND d.job_id = %(job_id)s AND d.state IN ('pending', 'failed')

-- name: succeed_delivery
-- Note that a delivery arrived and that its endpoint is well.
WITH held AS (  -- the endpoint first, as whoever deletes one does
    SELECT id FROM webhook_endpoints WHERE id = %(endpoint_id)s FOR NO KEY UPDATE
), delivery AS (
    UPDATE webhook_deliveries d SET state = 'delivered', attempts = attempts + 1, status = %(status)s, error = NULL,
        attempted_at = now(), finished_at = now()
    FROM held WHERE d.endpoint_id = held.id AND d.id = %(id)s AND d.attempts = %(attempts)s
    RETURNING endpoint_id
)
UPDATE webhook_endpoints e SET delivered_at = now(), failures = 0, failing_since = NULL, paused_until = NULL
FROM delivery WHERE e.id = delivery.endpoint_id

-- name: call_next
-- Let some of those come now that wait for an endpoint and were never attempted, the oldest first.
WITH next AS MATERIALIZED (
    SELECT j.id FROM webhook_deliveries d JOIN jobs j ON j.id = d.job_id
    WHERE d.endpoint_id = %(endpoint_id)s AND d.state = 'pending' AND d.attempts = 0
      AND j.state = 'retrying' AND j.available_at > now()
    ORDER BY d.created_at LIMIT %(limit)s FOR NO KEY UPDATE OF j SKIP LOCKED
), called AS (
    UPDATE jobs SET available_at = now() FROM next WHERE jobs.id = next.id RETURNING queue
)
SELECT pg_notify('headrace_jobs', queue) FROM called

-- name: fail_delivery
-- Note a failed attempt, once, and leave the endpoint alone for a while.
WITH held AS (  -- the endpoint first, as whoever deletes one does
    SELECT id FROM webhook_endpoints WHERE id = %(endpoint_id)s FOR NO KEY UPDATE
), delivery AS (
    UPDATE webhook_deliveries d SET state = CASE WHEN %(is_final)s THEN 'failed' ELSE 'pending' END,
        finished_at = CASE WHEN %(is_final)s THEN now() END, attempts = attempts + 1, status = %(status)s,
        error = %(error)s, attempted_at = now()
    FROM held WHERE d.endpoint_id = held.id AND d.id = %(id)s AND d.attempts = %(attempts)s
    RETURNING endpoint_id
)
UPDATE webhook_endpoints e SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
    paused_until = now() + %(pause)s
FROM delivery WHERE e.id = delivery.endpoint_id

-- name: failing_for
-- Tell how long an endpoint has been failing. `fail_delivery` may have waited for it, and would see it as it was before.
SELECT coalesce(now() - failing_since, interval '0') AS failing FROM webhook_endpoints WHERE id = %(endpoint_id)s

-- name: discard_delivery
-- Give a delivery up without an attempt.
UPDATE webhook_deliveries SET state = 'discarded', finished_at = now(), error = %(reason)s WHERE id = %(id)s

-- name: disable_failing_endpoint
-- Disable the endpoint of a delivery, unless it is already or a success came in between, and put an event about it into
-- the log.
WITH endpoint AS (
    UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = %(reason)s
    WHERE id = %(endpoint_id)s AND disabled_at IS NULL AND failures > 0
    RETURNING id, workspace_id
)
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT %(job_id)s, workspace_id, 'webhook_disabled', jsonb_build_object('endpoint_id', id, 'reason', %(reason)s::text)
FROM endpoint
