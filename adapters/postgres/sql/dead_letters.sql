-- name: take_turn
-- Wait for those who restart, replace, delete or erase a job's document (as in documents.sql), before the job is held.
SELECT pg_advisory_xact_lock(hashtextextended('document ' || document_id::text, 0))
FROM jobs WHERE id = %(id)s AND document_id IS NOT NULL

-- name: hold
-- Hold a job until the transaction ends. Its document is read after that: who waits for a job in the same statement sees
-- the document as it was before.
SELECT id FROM jobs WHERE id = %(id)s FOR NO KEY UPDATE

-- name: read_held
-- Return a job with the state of its document.
SELECT j.id, j.actor, j.state, j.workspace_id, j.document_id, j.replayed_by,
       d.state AS document_state, d.job_id AS document_job_id
FROM jobs j LEFT JOIN documents d ON d.id = j.document_id WHERE j.id = %(id)s

-- name: replay
-- failed | cancelled -> pending, as if just sent: all retries and its whole age before it. Lease and attempts go on.
WITH job AS (
    UPDATE jobs SET state = 'pending', available_at = now(), finished_at = NULL, cancel_requested_at = NULL,
        crash_count = 0, failure_code = NULL, failure_message = NULL, failure_fingerprint = NULL,
        message = jsonb_set(message #- '{options,retries}' #- '{options,requeue_timestamp}', '{message_timestamp}',
                            to_jsonb(floor(extract(epoch FROM now()) * 1000)::bigint))
    WHERE id = %(id)s AND state IN ('failed', 'cancelled')
    RETURNING id, queue, workspace_id, document_id
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event)
    SELECT id, workspace_id, document_id, 'replayed' FROM job
)
SELECT pg_notify('headrace_jobs', queue) FROM job

-- name: supersede
-- Note the job that has taken a dead letter's place.
WITH job AS (
    UPDATE jobs SET replayed_by = %(by)s WHERE id = %(id)s RETURNING id, workspace_id, document_id, replayed_by
)
INSERT INTO job_events (job_id, workspace_id, document_id, event, data)
SELECT id, workspace_id, document_id, 'replayed', jsonb_build_object('by', replayed_by) FROM job

-- name: discard
-- Remove a dead letter, and its attempts with it.
WITH job AS (
    DELETE FROM jobs WHERE id = %(id)s AND state = 'failed' RETURNING id, workspace_id, document_id
)
INSERT INTO job_events (job_id, workspace_id, document_id, event)
SELECT id, workspace_id, document_id, 'discarded' FROM job

-- name: find_jobs
-- List jobs that fit a filter (NULL: any), the latest first.
SELECT id, queue, actor, state, workspace_id, document_id, attempt, crash_count, created_at, finished_at,
       failure_code, left(failure_message, 200) AS failure_message, failure_fingerprint, replayed_by
FROM jobs
WHERE (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s::uuid[]))
  AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s::text[]))
  AND (%(queue)s::text IS NULL OR queue = %(queue)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(workspace_id)s::uuid IS NULL OR workspace_id = %(workspace_id)s)
  AND (%(code)s::text IS NULL OR failure_code = %(code)s)
  AND (%(fingerprint)s::text IS NULL OR failure_fingerprint = %(fingerprint)s)
  AND (%(older_than)s::interval IS NULL OR coalesce(finished_at, created_at) < now() - %(older_than)s::interval)
  AND (%(newer_than)s::interval IS NULL OR coalesce(finished_at, created_at) > now() - %(newer_than)s::interval)
  AND (%(replayed)s OR replayed_by IS NULL)
ORDER BY coalesce(finished_at, created_at) DESC, id LIMIT %(limit)s

-- name: read_job
-- Return everything about one job, and the state of its document.
SELECT j.id, j.queue, j.actor, j.state, j.priority, j.workspace_id, j.document_id, d.name AS document_name,
       d.state AS document_state, d.job_id AS document_job_id, j.attempt, j.crash_count, j.lease, j.created_at,
       j.available_at, j.started_at, j.finished_at, j.cancel_requested_at, j.failure_code, j.failure_message,
       j.failure_fingerprint, j.replayed_by, j.message
FROM jobs j LEFT JOIN documents d ON d.id = j.document_id WHERE j.id = %(id)s

-- name: read_attempts
-- Return every run of a job, oldest first, with what went wrong.
SELECT lease, started_at, ended_at, extract(epoch FROM ended_at - started_at)::float8 AS seconds, outcome, error,
       traceback
FROM job_runs WHERE job_id = %(id)s ORDER BY lease
