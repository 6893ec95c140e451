-- name: newest_event
-- Return the highest id that was handed out, committed or not.
SELECT last_value FROM job_events_id_seq

-- name: event_writers
-- List the transactions that write events now. A prepared one has no process and changes its name when it is prepared.
SELECT CASE WHEN pid IS NULL THEN 'prepared' ELSE virtualtransaction END AS writer
FROM pg_locks WHERE locktype = 'relation' AND relation = 'job_events'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: newest_visible_event
-- Return the highest id of an event up to a settled one. Unlike the settled id itself, it is never handed out again.
SELECT coalesce(max(id), 0) FROM job_events WHERE id <= %(until)s

-- name: oldest_event
-- Return the lowest id of an event that is still kept; NULL when there is none.
SELECT min(id) FROM job_events

-- name: read_events
-- Return a bounded run of settled events of some workspaces, in order, each with what the ledger knows of its job.
SELECT e.id, e.job_id, e.workspace_id, e.document_id, e.event, e.data, e.at, j.actor, j.queue
FROM job_events e LEFT JOIN jobs j ON j.id = e.job_id
WHERE e.id > %(after)s AND e.id <= %(until)s AND e.workspace_id = ANY(%(workspace_ids)s::uuid[])
ORDER BY e.id LIMIT %(limit)s

-- name: replay_workspace
-- Return a bounded run of a workspace's settled events.
SELECT e.id, e.job_id, e.workspace_id, e.document_id, e.event, e.data, e.at, j.actor, j.queue
FROM job_events e LEFT JOIN jobs j ON j.id = e.job_id
WHERE e.id > %(after)s AND e.id <= %(until)s AND e.workspace_id = %(workspace_id)s
  AND e.workspace_id <> '00000000-0000-0000-0000-000000000000'
ORDER BY e.id LIMIT %(limit)s

-- name: replay_document
-- Return a bounded run of a document's settled events.
SELECT e.id, e.job_id, e.workspace_id, e.document_id, e.event, e.data, e.at, j.actor, j.queue
FROM job_events e LEFT JOIN jobs j ON j.id = e.job_id
WHERE e.id > %(after)s AND e.id <= %(until)s AND e.workspace_id = %(workspace_id)s AND e.document_id = %(key)s
ORDER BY e.id LIMIT %(limit)s

-- name: replay_task
-- Return a bounded run of a job's settled events.
SELECT e.id, e.job_id, e.workspace_id, e.document_id, e.event, e.data, e.at, j.actor, j.queue
FROM job_events e LEFT JOIN jobs j ON j.id = e.job_id
WHERE e.id > %(after)s AND e.id <= %(until)s AND e.workspace_id = %(workspace_id)s AND e.job_id = %(key)s
ORDER BY e.id LIMIT %(limit)s

-- name: has_document
-- Tell whether a workspace has, or had, this document.
SELECT EXISTS (SELECT FROM documents WHERE id = %(key)s AND workspace_id = %(workspace_id)s)

-- name: has_task
-- Tell whether a workspace has this job.
SELECT EXISTS (SELECT FROM jobs WHERE id = %(key)s AND workspace_id = %(workspace_id)s)

-- name: issue_ticket
-- Keep the hash of a new ticket, and forget a bounded number of those that nobody used.
WITH expired AS (
    DELETE FROM live_tickets WHERE hash = ANY (ARRAY(
        SELECT hash FROM live_tickets WHERE expires_at < now() ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
)
INSERT INTO live_tickets (hash, workspace_id, key_id, scopes, expires_at)
VALUES (%(hash)s, %(workspace_id)s, %(key_id)s, %(scopes)s, now() + %(lifetime)s)
RETURNING expires_at

-- name: redeem_ticket
-- Use a ticket up; nothing when it is unknown, used or too old.
DELETE FROM live_tickets WHERE hash = %(hash)s RETURNING workspace_id, key_id, scopes, expires_at > now() AS is_valid
