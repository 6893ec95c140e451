-- name: insert_media
-- Insert an upload, or what a job is to make.
INSERT INTO media_files (id, workspace_id, kind, state, name, job_id, recipe, source_media_id, source_document_id,
                         blob_key, content_sha256, byte_count, media_type, ready_at)
VALUES (%(id)s, %(workspace_id)s, %(kind)s, CASE WHEN %(job_id)s::uuid IS NULL THEN 'ready' ELSE 'pending' END, %(name)s,
        %(job_id)s, %(recipe)s, %(source_media_id)s, %(source_document_id)s, %(blob_key)s, %(content_sha256)s,
        %(byte_count)s, %(media_type)s, CASE WHEN %(job_id)s::uuid IS NULL THEN now() END)

-- name: find_source
-- Return the name of a picture that has bytes to work with, or of a live document.
SELECT name FROM media_files
WHERE id = %(media_id)s AND workspace_id = %(workspace_id)s AND state = 'ready' AND blob_key IS NOT NULL
UNION ALL
SELECT name FROM documents WHERE id = %(document_id)s AND workspace_id = %(workspace_id)s AND state <> 'deleted'
LIMIT 1

-- name: start_media
-- Return what a job is to make, with the blob that it is made of.
SELECT m.id, m.workspace_id, m.kind, m.name, m.recipe, m.content_sha256, m.byte_count,
       CASE WHEN m.kind = 'file' THEN m.blob_key ELSE coalesce(s.blob_key, d.blob_key) END AS source_key
FROM media_files m
LEFT JOIN media_files s ON s.id = m.source_media_id AND s.workspace_id = m.workspace_id AND s.state = 'ready'
LEFT JOIN documents d ON d.id = m.source_document_id AND d.workspace_id = m.workspace_id AND d.state <> 'deleted'
WHERE m.id = %(id)s AND m.workspace_id = %(workspace_id)s AND m.job_id = %(job_id)s AND m.state = 'pending'

-- name: publish_media
-- pending -> ready: the picture is stored.
UPDATE media_files SET state = 'ready', ready_at = now(), blob_key = %(blob_key)s, content_sha256 = %(content_sha256)s,
    byte_count = %(byte_count)s, media_type = %(media_type)s, width = %(width)s, height = %(height)s,
    frames = %(frames)s, unchanged = %(unchanged)s
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state = 'pending'
RETURNING job_id, source_media_id, source_document_id

-- name: note_thumbnail
-- Tell watchers of a thumbnail, in the transaction that publishes it.
INSERT INTO job_events (job_id, workspace_id, event, data)
VALUES (%(job_id)s, %(workspace_id)s, 'thumbnail_generated', %(data)s)

-- name: file_became
-- pending -> ready: a file is an uploaded picture, or a document, which has taken its blob over.
UPDATE media_files SET state = 'ready', ready_at = now(), media_type = %(media_type)s, document_id = %(document_id)s,
    kind = CASE WHEN %(document_id)s::uuid IS NULL THEN 'upload' ELSE kind END,
    blob_key = CASE WHEN %(document_id)s::uuid IS NULL THEN blob_key END
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state = 'pending'

-- name: stop_media_job
-- Cancel the job that makes a picture while it waits, and ask it to stop while it runs.
WITH job AS (
    UPDATE jobs SET
        state = CASE WHEN state = 'running' THEN 'running' ELSE 'cancelled' END,
        finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
        cancel_requested_at = coalesce(cancel_requested_at, now())
    WHERE id = (SELECT job_id FROM media_files WHERE id = %(id)s AND workspace_id = %(workspace_id)s)
      AND workspace_id = %(workspace_id)s AND state IN ('pending', 'queued', 'running', 'retrying')
    RETURNING id, state, workspace_id
)
INSERT INTO job_events (job_id, workspace_id, event)
SELECT id, workspace_id, 'cancelled' FROM job WHERE state = 'cancelled'

-- name: delete_media
-- Remove a picture, whatever its state.
DELETE FROM media_files WHERE id = %(id)s AND workspace_id = %(workspace_id)s RETURNING blob_key

-- name: count_pending
-- Count what jobs are still to make in a workspace, no further than it matters.
SELECT count(*) FROM (
    SELECT 1 FROM media_files WHERE workspace_id = %(workspace_id)s AND state = 'pending' LIMIT %(most)s) AS waiting

-- name: show_media
-- Return a picture.
SELECT id, kind, state, name, job_id AS task_id, source_media_id, source_document_id, document_id, blob_key,
       encode(content_sha256, 'hex') AS sha256, byte_count, media_type, width, height, frames, unchanged,
       failure_code, failure_message, created_at, ready_at
FROM media_files WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: list_media
-- Return pictures of a workspace, the newest first.
SELECT id, kind, state, name, job_id AS task_id, source_media_id, source_document_id, document_id, blob_key,
       encode(content_sha256, 'hex') AS sha256, byte_count, media_type, width, height, frames, unchanged,
       failure_code, failure_message, created_at, ready_at
FROM media_files
WHERE workspace_id = %(workspace_id)s
  AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(source_id)s::uuid IS NULL OR source_media_id = %(source_id)s OR source_document_id = %(source_id)s)
  AND (%(created_at)s::timestamptz IS NULL OR (created_at, id) < (%(created_at)s, %(after_id)s))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
