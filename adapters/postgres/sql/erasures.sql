-- name: begin_erasure
-- Open a receipt; an earlier attempt's stays.
INSERT INTO erasures (id, workspace_id, document_id) VALUES (%(id)s, %(workspace_id)s, %(document_id)s)
ON CONFLICT (id) DO NOTHING

-- name: hold_document
-- Hold a document, deleted or not, until the transaction ends.
SELECT id FROM documents WHERE id = %(document_id)s AND workspace_id = %(workspace_id)s FOR UPDATE

-- name: has_counted
-- Tell whether an earlier attempt has erased the document already.
SELECT counts <> '{}' AS counted, blob_key FROM erasures WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: hold_jobs
-- Wait for the attempts of a workspace that write: a later statement sees the jobs to which they hand over.
SELECT id FROM jobs WHERE workspace_id = %(workspace_id)s AND id <> %(id)s
  AND state IN ('pending', 'queued', 'running', 'retrying') ORDER BY id FOR NO KEY UPDATE

-- name: stop_jobs
-- Cancel what waits of a workspace, but for this job, and ask what runs to stop; return how many run.
WITH job AS (
    UPDATE jobs SET
        state = CASE WHEN state = 'running' THEN 'running' ELSE 'cancelled' END,
        finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
        cancel_requested_at = coalesce(cancel_requested_at, now())
    WHERE workspace_id = %(workspace_id)s AND id <> %(id)s AND state IN ('pending', 'queued', 'running', 'retrying')
    RETURNING id, state
), freed AS (
    DELETE FROM token_reservations r USING job WHERE r.job_id = job.id AND job.state = 'cancelled'
)
SELECT count(*) FILTER (WHERE state = 'running') AS running FROM job

-- name: running_of_document
-- Count the attempts that still write to a document.
SELECT count(*) FROM jobs
WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s AND state = 'running'

-- name: erase_pages
-- Remove every page of a document.
DELETE FROM document_pages WHERE document_id = %(document_id)s

-- name: erase_chunks
-- Remove every chunk of a document; return their texts' hashes.
DELETE FROM chunks WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s RETURNING text_hash

-- name: erase_events
-- Remove what the log says of a document.
DELETE FROM job_events WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s

-- name: erase_jobs
-- Remove the jobs of a document, which have ended, with their attempts.
DELETE FROM jobs WHERE document_id = %(document_id)s AND workspace_id = %(workspace_id)s AND finished_at IS NOT NULL

-- name: erase_notifications
-- Remove what users were told of a document.
DELETE FROM notifications WHERE workspace_id = %(workspace_id)s AND about = 'document:' || %(document_id)s::text

-- name: erase_deliveries
-- Remove what webhooks tell of a document.
DELETE FROM webhook_deliveries
WHERE workspace_id = %(workspace_id)s AND data ->> 'document_id' = %(document_id)s::text

-- name: erase_document_row
-- Remove a document itself; return the key of its blob.
DELETE FROM documents WHERE id = %(document_id)s AND workspace_id = %(workspace_id)s RETURNING blob_key

-- name: disown_document_blob
-- Let the sweeper delete the blob, should this job not.
INSERT INTO unowned_blobs (key, delete_after) VALUES (%(blob_key)s, now())
ON CONFLICT (key) DO UPDATE SET delete_after = excluded.delete_after

-- name: count_erased
-- Add to what a receipt counts.
UPDATE erasures SET
    blob_key = coalesce(%(blob_key)s, blob_key),
    counts = counts || (SELECT coalesce(jsonb_object_agg(key, coalesce((counts ->> key)::bigint, 0) + value::bigint), '{}')
                        FROM jsonb_each_text(%(counts)s))
WHERE id = %(id)s

-- name: workspace_tables
-- List the tables that have rows of workspaces, but for what stays: names, keys, usage, receipts, and the ledger itself.
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
  AND a.attname = 'workspace_id' AND NOT a.attisdropped
  AND c.relname NOT IN ('workspaces', 'jobs', 'api_keys', 'workspace_daily_usage', 'erasures')
ORDER BY (SELECT count(*) FROM pg_constraint f WHERE f.confrelid = c.oid AND f.contype = 'f'), c.relname

-- name: hold_rows
-- Hold some rows of a workspace in one table and return their places, which change while somebody else updates them.
SELECT ctid::text FROM {table} WHERE workspace_id = %(workspace_id)s LIMIT %(limit)s FOR UPDATE

-- name: hold_page_rows
-- Hold some pages of a workspace and return their places.
SELECT p.ctid::text FROM documents d JOIN document_pages p ON p.document_id = d.id
WHERE d.workspace_id = %(workspace_id)s LIMIT %(limit)s FOR UPDATE OF p

-- name: hold_job_rows
-- Hold some jobs of a workspace that have ended and return their places.
SELECT ctid::text FROM jobs WHERE workspace_id = %(workspace_id)s AND id <> %(id)s AND finished_at IS NOT NULL
LIMIT %(limit)s FOR UPDATE

-- name: erase_rows
-- Remove the rows that are held, with what refers to them.
DELETE FROM {table} WHERE ctid = ANY (%(places)s::tid[])

-- name: condemn_blobs
-- Let blobs be removed, by this job or by the sweeper; those that an erasure has counted already say so by their time.
INSERT INTO unowned_blobs (key, delete_after) SELECT unnest(%(keys)s::text[]), '-infinity'
ON CONFLICT (key) DO UPDATE SET delete_after = excluded.delete_after
WHERE unowned_blobs.delete_after <> excluded.delete_after

-- name: strike_out
-- Forget blobs that are gone.
WITH erasure AS (
    UPDATE erasures SET blob_key = NULL WHERE id = %(id)s AND blob_key = ANY (%(keys)s)
)
DELETE FROM unowned_blobs WHERE key = ANY (%(keys)s)

-- name: finish_erasure
-- Close a receipt.
UPDATE erasures SET finished_at = now() WHERE id = %(id)s RETURNING counts

-- name: note_erasure
-- Put the news of an erasure into the log.
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT id, workspace_id, 'erasure.done', jsonb_build_object('erasure_id', id, 'counts', counts) FROM erasures
WHERE id = %(id)s

-- name: list_erasures
-- Return receipts of a workspace, the latest first.
SELECT id, document_id, counts, created_at, finished_at FROM erasures
WHERE workspace_id = %(workspace_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- name: knows_document
-- Tell whether a workspace has, or had, a document.
SELECT EXISTS (SELECT FROM documents WHERE id = %(document_id)s AND workspace_id = %(workspace_id)s) AS known
