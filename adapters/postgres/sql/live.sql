-- name: newest_id
-- Return the highest id that an event was given, committed or not.
SELECT last_value FROM job_events_id_seq

-- name: writers
-- Name the transactions that write events now. A prepared one has no process, and changes its name when it is prepared.
SELECT DISTINCT CASE WHEN pid IS NULL THEN 'prepared' ELSE virtualtransaction END AS writer
FROM pg_locks WHERE locktype = 'relation' AND relation = 'job_events'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: newest_event
-- Return the highest id of a committed event up to a settled id. Unlike that one, it is never given again.
SELECT coalesce(max(id), 0) AS id FROM job_events WHERE id <= %(until)s

-- name: read_events
-- Return a bounded run of settled events of some workspaces, in order.
SELECT id, workspace_id, task_id, document_id, event, data, at, actor, queue, goes_on FROM watched_events
WHERE id > %(after)s AND id <= %(until)s AND workspace_id = ANY(%(workspace_ids)s::uuid[]) ORDER BY id LIMIT %(limit)s

-- name: replay_workspace
-- Return a bounded run of a workspace's settled events, in order.
SELECT id, workspace_id, task_id, document_id, event, data, at, actor, queue, goes_on FROM watched_events
WHERE id > %(after)s AND id <= %(until)s AND workspace_id = %(workspace_id)s ORDER BY id LIMIT %(limit)s

-- name: replay_document
-- Return a bounded run of a document's settled events, in order.
SELECT id, workspace_id, task_id, document_id, event, data, at, actor, queue, goes_on FROM watched_events
WHERE id > %(after)s AND id <= %(until)s AND workspace_id = %(workspace_id)s AND document_id = %(key)s
ORDER BY id LIMIT %(limit)s

-- name: replay_task
-- Return a bounded run of a task's settled events, in order: those of its first job and of the one that continues it.
SELECT id, workspace_id, task_id, document_id, event, data, at, actor, queue, goes_on FROM watched_events
WHERE id > %(after)s AND id <= %(until)s AND workspace_id = %(workspace_id)s
  AND job_id = ANY(ARRAY(SELECT id FROM jobs WHERE id = %(key)s OR task_id = %(key)s))
ORDER BY id LIMIT %(limit)s

-- name: oldest_event
-- Return the lowest id of an event that is still kept, or the last one where none is, and the highest that was given.
SELECT coalesce((SELECT min(id) FROM job_events), last_value) AS oldest, last_value AS newest FROM job_events_id_seq

-- name: find_document
-- Find a document that a workspace has, or had.
SELECT id FROM documents WHERE id = %(key)s AND workspace_id = %(workspace_id)s

-- name: find_task
-- Find the task of a workspace that a job is, or continues.
SELECT coalesce(task_id, id) AS id FROM jobs WHERE id = %(key)s AND workspace_id = %(workspace_id)s

-- name: issue_ticket
-- Keep the hash of a new ticket, and forget a bounded number of those that nobody used.
WITH expired AS (
    DELETE FROM live_tickets WHERE hash = ANY (ARRAY(
        SELECT hash FROM live_tickets WHERE expires_at < now() ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
)
INSERT INTO live_tickets (hash, workspace_id, key_id, expires_at)
VALUES (%(hash)s, %(workspace_id)s, %(key_id)s, now() + %(lifetime)s)
RETURNING expires_at

-- name: redeem_ticket
-- Use a ticket up, and return whose it was, unless it is too old or its key no longer works.
WITH used AS (
    DELETE FROM live_tickets WHERE hash = %(hash)s RETURNING workspace_id, key_id, expires_at
)
SELECT used.workspace_id, used.key_id FROM used JOIN api_keys k ON k.id = used.key_id
WHERE used.expires_at > now() AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())

-- name: valid_keys
-- Return those of the keys that still work.
SELECT id FROM api_keys
WHERE id = ANY(%(ids)s::uuid[]) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
