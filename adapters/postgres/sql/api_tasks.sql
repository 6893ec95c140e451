-- name: read_task
-- Return one task of a workspace.
SELECT t.*, (SELECT m.id FROM media_files m WHERE m.job_id = t.id AND m.workspace_id = t.workspace_id) AS media_id
FROM tasks t WHERE workspace_id = %(workspace_id)s AND id = %(id)s

-- name: task_of_job
-- Name the task that a job is the second half of.
SELECT e.id FROM jobs i JOIN jobs e ON e.document_id = i.document_id AND e.workspace_id = i.workspace_id
WHERE i.id = %(id)s AND i.workspace_id = %(workspace_id)s AND i.actor = 'index_document'
  AND e.actor = 'extract_document' AND e.created_at <= i.created_at
ORDER BY e.created_at DESC LIMIT 1

-- name: list_tasks
-- List the tasks of a workspace that fit (NULL: any), the latest first.
SELECT t.*, (SELECT m.id FROM media_files m WHERE m.job_id = t.id AND m.workspace_id = t.workspace_id) AS media_id
FROM tasks t
WHERE workspace_id = %(workspace_id)s
  AND (%(statuses)s::text[] IS NULL OR status = ANY(%(statuses)s::text[]))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(document_id)s::uuid IS NULL OR document_id = %(document_id)s)
  AND (%(before)s::timestamptz IS NULL OR (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- name: task_attempts
-- Return every run of a task's stages, oldest first.
SELECT j.actor AS stage, a.started_at, a.ended_at, a.outcome
FROM job_attempts a JOIN jobs j ON j.id = a.job_id
WHERE j.workspace_id = %(workspace_id)s AND j.id IN (%(id)s, %(job_id)s) ORDER BY a.started_at, a.lease LIMIT 100

-- name: last_attempt
-- Return how the last run of a job ended.
SELECT a.outcome, a.ended_at FROM job_attempts a JOIN jobs j ON j.id = a.job_id
WHERE j.workspace_id = %(workspace_id)s AND j.id = %(job_id)s AND a.ended_at IS NOT NULL
ORDER BY a.lease DESC LIMIT 1

-- name: count_ahead
-- Count the jobs of the workspace that its queue hands out before this one, up to a thousand.
SELECT count(*) AS jobs FROM (
    SELECT FROM jobs j
    WHERE j.queue = %(queue)s AND j.workspace_id = %(workspace_id)s AND j.state IN ('pending', 'retrying')
      AND j.available_at <= now() AND j.available_at < %(available_at)s LIMIT 1000) ahead

-- name: queue_outlook
-- Tell how a queue does as a whole: who leads, what runs, what is due, what ended well of late.
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (classid::bigint << 32 | objid::bigint) = %(lock)s) AS has_workers,
       (SELECT count(*) FROM jobs WHERE state = 'running' AND queue = %(queue)s) AS running,
       (SELECT count(*) FROM (SELECT FROM jobs WHERE state IN ('pending', 'retrying') AND queue = %(queue)s
                              AND available_at <= now() LIMIT 10000) due)
       + (SELECT count(*) FROM (SELECT FROM jobs WHERE state = 'queued' AND queue = %(queue)s LIMIT 10000) rung) AS due,
       recent.jobs AS recently_done, recent.span_seconds, recent.mean_seconds
FROM (
    SELECT count(*) AS jobs, extract(epoch FROM now() - min(finished_at))::float8 AS span_seconds,
           avg(extract(epoch FROM finished_at - started_at))::float8 AS mean_seconds
    FROM (SELECT queue, state, started_at, finished_at FROM jobs
          WHERE state IN ('succeeded', 'cancelled') AND finished_at > now() - interval '10 minutes'
          ORDER BY finished_at DESC LIMIT 1000) ended
    WHERE queue = %(queue)s AND state = 'succeeded'
) recent

-- name: backlog
-- Count the documents of a workspace that wait to be read, up to a limit.
SELECT count(*) AS jobs FROM (
    SELECT FROM jobs WHERE queue = %(queue)s AND workspace_id = %(workspace_id)s AND state IN ('pending', 'retrying')
    LIMIT %(limit)s) waiting

-- name: count_jobs
-- Count the jobs of a workspace by state and actor.
SELECT state, actor, count(*) AS jobs FROM jobs WHERE workspace_id = %(workspace_id)s GROUP BY state, actor

-- name: has_workers
-- Tell whether some worker process leads the relay: it holds this advisory lock as long as it lives.
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (classid::bigint << 32 | objid::bigint) = %(lock)s) AS has_workers
