-- name: hold_budget
-- Return the workspace's daily budget, if it has one, and hold the workspace until the transaction ends.
SELECT daily_token_budget FROM workspaces
WHERE id = %(workspace_id)s AND daily_token_budget IS NOT NULL FOR NO KEY UPDATE

-- name: taken
-- Return what the workspace has spent today and what its other jobs have reserved. A statement of its own: one that
-- waits for the workspace's lock does not see what was reserved in the meantime.
SELECT coalesce((SELECT tokens FROM workspace_daily_usage
                 WHERE workspace_id = %(workspace_id)s AND day = (now() AT TIME ZONE 'utc')::date), 0) AS spent,
       coalesce((SELECT sum(tokens) FROM token_reservations
                 WHERE workspace_id = %(workspace_id)s AND expires_at > now()
                   AND job_id IS DISTINCT FROM %(job_id)s), 0)::bigint AS reserved,
       extract(epoch FROM date_trunc('day', now() AT TIME ZONE 'utc') + interval '1 day'
                          - (now() AT TIME ZONE 'utc'))::float8 AS seconds_to_midnight

-- name: reserve
-- Set tokens aside for a job, replacing what it had.
WITH old AS (DELETE FROM token_reservations WHERE job_id = %(job_id)s)
INSERT INTO token_reservations (id, workspace_id, job_id, tokens, expires_at)
VALUES (%(id)s, %(workspace_id)s, %(job_id)s, %(tokens)s, now() + %(ttl)s)

-- name: settle
-- Book what a batch cost, once, and give back as much of the reservation as had been set aside for it.
WITH reservation AS (
    UPDATE token_reservations SET settled_batches = %(batch)s, tokens = greatest(0, tokens - %(reserved)s),
        expires_at = now() + %(ttl)s
    WHERE job_id = %(job_id)s AND settled_batches < %(batch)s
    RETURNING job_id
)
INSERT INTO workspace_daily_usage AS u (workspace_id, day, tokens)
SELECT %(workspace_id)s, (now() AT TIME ZONE 'utc')::date, %(spent)s
WHERE EXISTS (SELECT FROM reservation) OR NOT EXISTS (SELECT FROM token_reservations WHERE job_id = %(job_id)s)
ON CONFLICT (workspace_id, day) DO UPDATE SET tokens = u.tokens + excluded.tokens

-- name: count_document
-- Book a document that became ready, and tokens that were not booked before.
INSERT INTO workspace_daily_usage AS u (workspace_id, day, tokens, pages, chunks, documents)
SELECT workspace_id, (now() AT TIME ZONE 'utc')::date, %(tokens)s, page_count, chunk_count, 1
FROM documents WHERE id = %(document_id)s
ON CONFLICT (workspace_id, day) DO UPDATE SET tokens = u.tokens + excluded.tokens,
    pages = u.pages + excluded.pages, chunks = u.chunks + excluded.chunks, documents = u.documents + excluded.documents

-- name: free_stale_reservations
-- Free reservations that expired or whose job has ended, a bounded number at a time.
WITH stale AS MATERIALIZED (  -- as a subquery the planner may run it again and pass the limit
    SELECT r.id FROM token_reservations r LEFT JOIN jobs j ON j.id = r.job_id
    WHERE r.expires_at <= now() OR j.finished_at IS NOT NULL
    ORDER BY r.expires_at LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED
)
DELETE FROM token_reservations r USING stale WHERE r.id = stale.id
RETURNING r.id, r.workspace_id, r.job_id, r.tokens, r.expires_at
