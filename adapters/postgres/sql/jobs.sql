-- name: insert_job
-- Put a job into the ledger and ring; the same id twice is one job.
INSERT INTO jobs (id, queue, actor, message, workspace_id, document_id, priority, available_at)
VALUES (%(id)s, %(queue)s, %(actor)s, %(message)s, %(workspace_id)s, %(document_id)s, %(priority)s, now() + %(delay)s)
ON CONFLICT (id) DO NOTHING
RETURNING pg_notify('headrace_jobs', queue)

-- name: record_tick
-- Take the tick of a periodic actor: nobody has it yet, and no earlier tick of this actor is still waiting or running.
INSERT INTO schedule_ticks (actor, tick, job_id)
SELECT %(actor)s, date_trunc('minute', %(tick)s::timestamptz), %(job_id)s
WHERE NOT EXISTS (
    SELECT FROM schedule_ticks earlier JOIN jobs ON jobs.id = earlier.job_id
    WHERE earlier.actor = %(actor)s AND jobs.finished_at IS NULL
)
ON CONFLICT DO NOTHING

-- name: claim
-- Start attempts of queued jobs, each only once. The lease number is the fence of everything an attempt writes.
-- Of the jobs whose worker died, one at a time runs for an owner: the others are rung for again.
WITH wanted AS MATERIALIZED (
    SELECT j.id, j.crash_count > 0 AS is_suspect, w.owner, w.ttl
    FROM unnest(%(ids)s::uuid[], %(owners)s::uuid[], %(ttls)s::interval[]) AS w (id, owner, ttl) JOIN jobs j USING (id)
    WHERE j.id = ANY(%(ids)s) AND j.state = 'queued' FOR NO KEY UPDATE OF j SKIP LOCKED
), admitted AS MATERIALIZED (
    SELECT id, owner, ttl FROM wanted WHERE NOT is_suspect
    UNION ALL
    (SELECT DISTINCT ON (owner) id, owner, ttl FROM wanted w
     WHERE is_suspect AND NOT EXISTS (SELECT FROM jobs n
                                      WHERE n.state = 'running' AND n.crash_count > 0 AND n.lease_owner = w.owner)
     ORDER BY owner, id)
), refused AS (
    UPDATE jobs SET hinted_at = 'epoch' WHERE id IN (SELECT id FROM wanted EXCEPT SELECT id FROM admitted)
)
UPDATE jobs SET state = 'running', lease = lease + 1, attempt = attempt + 1, lease_owner = owner,
    lease_expires_at = now() + ttl, claimed_at = now(), started_at = coalesce(started_at, now())
FROM admitted WHERE jobs.id = admitted.id
RETURNING jobs.id, lease, message, workspace_id, document_id, attempt, crash_count,
          extract(epoch FROM now() - available_at)::float8 AS waited_seconds

-- name: drop_hint
-- Note that the hint of a queued job is used up, so that the relay rings again in its next round.
UPDATE jobs SET hinted_at = 'epoch' WHERE id = %(id)s AND state = 'queued'

-- name: fence
-- Hold the job of a running attempt until the transaction ends; nobody can take it away meanwhile.
SELECT cancel_requested_at IS NOT NULL AS cancelled FROM jobs
WHERE id = %(id)s AND lease = %(lease)s AND state = 'running'
FOR NO KEY UPDATE

-- name: succeed
-- End running attempts well, except those that were asked to stop; return the jobs of the others.
WITH job AS (
    UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_expires_at = NULL
    FROM unnest(%(ids)s::uuid[], %(leases)s::bigint[]) AS mine (id, number)
    WHERE jobs.id = ANY(%(ids)s) AND jobs.id = mine.id AND lease = number AND state = 'running' AND cancel_requested_at IS NULL
    RETURNING jobs.id, lease, lease_owner, claimed_at, workspace_id, document_id
), attempt AS (
    INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome)
    SELECT id, lease, lease_owner, claimed_at, 'succeeded' FROM job
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event)
    SELECT id, workspace_id, document_id, 'succeeded' FROM job
    WHERE workspace_id <> '00000000-0000-0000-0000-000000000000'  -- nobody follows the jobs of the house
)
SELECT id FROM job

-- name: retry
-- Let a running attempt go and run the job again later; parked and interrupted ones do not count as an attempt, and an
-- interrupted job keeps its place in the queue. Arguments stay as they were sent, whatever the actor has done to them.
WITH job AS (
    UPDATE jobs SET state = 'retrying', message = jsonb_set(message, '{options}', %(options)s),
        available_at = CASE %(outcome)s WHEN 'interrupted' THEN least(available_at, now()) ELSE now() + %(delay)s END,
        attempt = attempt - (%(outcome)s IN ('parked', 'interrupted'))::int, lease_expires_at = NULL
    WHERE id = %(id)s AND lease = %(lease)s AND state = 'running' AND cancel_requested_at IS NULL
    RETURNING id, lease, lease_owner, claimed_at, queue, workspace_id, document_id, available_at
), attempt AS (
    INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome, error, traceback)
    SELECT id, lease, lease_owner, claimed_at, %(outcome)s, %(error)s, %(traceback)s FROM job
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event, data)
    SELECT id, workspace_id, document_id, %(outcome)s, jsonb_build_object('error', %(error)s::text, 'at', available_at)
    FROM job
)
SELECT pg_notify('headrace_jobs', queue) FROM job

-- name: fail
-- End a job badly: a running attempt by its lease, or a queued job that no worker can run (lease is NULL).
WITH job AS (
    UPDATE jobs SET state = 'failed', finished_at = now(), lease_expires_at = NULL,
        failure_code = %(code)s, failure_message = %(error)s, failure_fingerprint = %(fingerprint)s
    WHERE id = %(id)s AND (
        (state = 'running' AND lease = %(lease)s::bigint) OR (state = 'queued' AND %(lease)s::bigint IS NULL))
    RETURNING id, lease, lease_owner, claimed_at, workspace_id, document_id
), attempt AS (
    INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome, error, traceback)
    SELECT id, lease, lease_owner, claimed_at, 'failed', %(error)s, %(traceback)s FROM job
    WHERE %(lease)s::bigint IS NOT NULL
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event, data)
    SELECT id, workspace_id, document_id, 'failed', jsonb_build_object('code', %(code)s::text, 'error', %(error)s::text)
    FROM job
)
SELECT id AS job_id, document_id FROM job

-- name: cancel
-- End a waiting job at once, or the running attempt of a job that was asked to stop.
WITH job AS (
    UPDATE jobs SET state = 'cancelled', finished_at = now(), lease_expires_at = NULL
    WHERE id = %(id)s AND (
        (state IN ('pending', 'queued', 'retrying') AND %(lease)s::bigint IS NULL)
        OR (state = 'running' AND lease = %(lease)s::bigint AND cancel_requested_at IS NOT NULL))
    RETURNING id, lease, lease_owner, claimed_at, workspace_id, document_id
), attempt AS (
    INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome)
    SELECT id, lease, lease_owner, claimed_at, 'cancelled' FROM job WHERE %(lease)s::bigint IS NOT NULL
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event)
    SELECT id, workspace_id, document_id, 'cancelled' FROM job
)
SELECT id AS job_id, document_id FROM job

-- name: request_cancel
-- Ask an unfinished job to stop, and hold it: what waits is cancelled next, what runs stops at its next safe point.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, now())
WHERE id = %(id)s AND state IN ('pending', 'queued', 'running', 'retrying')

-- name: renew
-- Renew every lease of a process at once; what is missing from the answer is lost.
-- A job whose attempt is writing is locked: nobody can take it meanwhile, and it must not hold up the others.
WITH mine AS (
    SELECT id, lease FROM unnest(%(ids)s::uuid[], %(leases)s::bigint[]) AS mine (id, lease)
), free AS MATERIALIZED (
    SELECT jobs.id FROM jobs JOIN mine USING (id, lease) WHERE jobs.state = 'running'
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
), renewed AS (
    UPDATE jobs SET lease_expires_at = now() + %(ttl)s FROM free WHERE jobs.id = free.id
)
SELECT id FROM jobs JOIN mine USING (id, lease) WHERE jobs.state = 'running'

-- name: find_expired
-- List running jobs whose worker went silent.
SELECT id, lease FROM jobs WHERE state = 'running' AND lease_expires_at < now()
ORDER BY lease_expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: rescue
-- Take a job from a silent worker: run it again, end it as cancelled if that was asked, or fail it after too many crashes.
-- It keeps its place in the queue. If it ever died with others, nobody knows whose fault that was: one run more.
WITH silent AS (
    SELECT id, CASE
        WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN crash_count + 1 >= %(max_crashes)s + (
            EXISTS (SELECT FROM jobs n
                    WHERE n.state = 'running' AND n.lease_owner = j.lease_owner AND n.id <> j.id)
            OR EXISTS (SELECT FROM job_attempts n WHERE n.outcome = 'crashed' AND n.job_id <> j.id AND n.owner IN (
                SELECT owner FROM job_attempts mine WHERE mine.job_id = j.id UNION ALL SELECT j.lease_owner))
        )::int THEN 'failed'
        ELSE 'retrying' END AS next_state
    FROM jobs j WHERE id = %(id)s AND lease = %(lease)s AND state = 'running' AND lease_expires_at < now()
    FOR NO KEY UPDATE
), job AS (
    UPDATE jobs SET state = next_state, crash_count = crash_count + 1, attempt = attempt - 1,
        available_at = least(available_at, now()), lease_expires_at = NULL,
        finished_at = CASE WHEN next_state <> 'retrying' THEN now() END,
        failure_code = CASE WHEN next_state = 'failed' THEN 'worker_crashed' END,
        failure_message = CASE WHEN next_state = 'failed' THEN %(error)s::text END,
        failure_fingerprint = CASE WHEN next_state = 'failed' THEN 'worker_crashed' END
    FROM silent WHERE jobs.id = silent.id
    RETURNING jobs.id, lease, lease_owner, claimed_at, state, queue, workspace_id, document_id
), attempt AS (
    INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome, error)
    SELECT id, lease, lease_owner, claimed_at, 'crashed', 'the worker process went silent' FROM job
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id
), event AS (
    INSERT INTO job_events (job_id, workspace_id, document_id, event)
    SELECT id, workspace_id, document_id, 'crashed' FROM job
)
SELECT id AS job_id, document_id, state, pg_notify('headrace_jobs', queue) FROM job

-- name: queues
-- List the queues that have waiting jobs, hopping from one to the next through the index.
WITH RECURSIVE waiting AS (
    (SELECT queue FROM jobs WHERE state IN ('pending', 'retrying') ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs j WHERE j.state IN ('pending', 'retrying') AND j.queue > w.queue
            ORDER BY j.queue LIMIT 1)
    FROM waiting w WHERE w.queue IS NOT NULL
)
SELECT queue FROM waiting WHERE queue IS NOT NULL

-- name: pick_due
-- Move due jobs of a queue to queued and return what to ring for. Of equal priority, the workspace goes first that has
-- the fewest in flight, counting what it gets here; then the one whose job has waited longest.
WITH RECURSIVE tenants AS (
    (SELECT workspace_id FROM jobs WHERE queue = %(queue)s AND state IN ('pending', 'retrying')
     ORDER BY workspace_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.workspace_id FROM jobs j
            WHERE j.queue = %(queue)s AND j.state IN ('pending', 'retrying') AND j.workspace_id > t.workspace_id
            ORDER BY j.workspace_id LIMIT 1)
    FROM tenants t WHERE t.workspace_id IS NOT NULL
), in_flight AS (
    SELECT workspace_id, count(*) AS jobs FROM jobs WHERE queue = %(queue)s AND state IN ('queued', 'running') GROUP BY 1
), due AS MATERIALIZED (
    SELECT j.place, j.turn + coalesce(f.jobs, 0) AS turn
    FROM tenants t LEFT JOIN in_flight f USING (workspace_id) CROSS JOIN LATERAL (
        SELECT ctid AS place, priority, available_at, row_number() OVER (ORDER BY priority, available_at) AS turn FROM jobs
        WHERE queue = %(queue)s AND state IN ('pending', 'retrying') AND workspace_id = t.workspace_id
          AND available_at <= now()
        ORDER BY priority, available_at LIMIT %(limit)s
    ) j WHERE t.workspace_id IS NOT NULL
    ORDER BY j.priority, 2, j.available_at LIMIT %(limit)s
), picked AS MATERIALIZED (
    SELECT id, ctid AS place FROM jobs WHERE ctid = ANY (ARRAY(SELECT place FROM due))  -- by place: any index would be read whole
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued', hinted_at = now() FROM picked JOIN due USING (place) WHERE jobs.id = picked.id
RETURNING jobs.id, jobs.actor, jobs.priority, due.turn, jobs.available_at,
          extract(epoch FROM now() - jobs.available_at)::float8 AS lag_seconds

-- name: ring_again
-- Mark as rung again queued jobs that were rung for some time ago and have no hint in Redis: it may be lost.
WITH lost AS MATERIALIZED (  -- as a subquery the planner may run it again and pass the limit
    SELECT id FROM jobs WHERE queue = %(queue)s AND state = 'queued' AND hinted_at < now() - %(age)s::interval
      AND id <> ALL(%(known)s::uuid[])
    ORDER BY hinted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET hinted_at = now() FROM lost WHERE jobs.id = lost.id RETURNING jobs.id, jobs.actor

-- name: next_due
-- Tell in how many seconds the next waiting job is due; NULL when none waits.
SELECT extract(epoch FROM min(available_at) - now())::float8 AS seconds FROM jobs WHERE state IN ('pending', 'retrying')

-- name: queue_depths
-- Count the unfinished jobs per queue and state, with the age in seconds of the oldest that is due.
SELECT queue, state, count(*) AS jobs,
       coalesce(max(extract(epoch FROM now() - available_at)) FILTER (WHERE available_at <= now()), 0)::float8
           AS oldest_seconds
FROM jobs WHERE state IN ('pending', 'queued', 'running', 'retrying') GROUP BY queue, state

-- name: show_job
-- Return one job of a workspace.
SELECT id, queue, actor, state, attempt, crash_count, created_at, available_at, started_at, finished_at,
       failure_code, failure_message
FROM jobs WHERE id = %(id)s

-- name: stop_jobs_of_document
-- Cancel what waits for a document, free what it had reserved, and ask what runs for it to stop.
WITH job AS (
    UPDATE jobs SET
        state = CASE WHEN state = 'running' THEN 'running' ELSE 'cancelled' END,
        finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
        cancel_requested_at = coalesce(cancel_requested_at, now())
    WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s
      AND state IN ('pending', 'queued', 'running', 'retrying')
    RETURNING id, state, workspace_id, document_id
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id AND job.state = 'cancelled'
)
INSERT INTO job_events (job_id, workspace_id, document_id, event)
SELECT id, workspace_id, document_id, 'cancelled' FROM job WHERE state = 'cancelled'

-- name: hold_jobs_of_document
-- Wait for the attempts that write to a document, before the document itself is held: they take the two in that order.
SELECT id FROM jobs WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s
  AND state IN ('pending', 'queued', 'running', 'retrying') ORDER BY id FOR NO KEY UPDATE
