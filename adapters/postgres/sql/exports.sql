-- name: find_export
-- Return an export with how far it is.
SELECT e.id, e.workspace_id, e.format, e.created_at, e.expires_at,
       coalesce(jsonb_object_agg(p.kind, jsonb_build_array(p.number, p.place, p.is_last)) FILTER (WHERE p.kind IS NOT NULL),
                '{}') AS parts
FROM exports e LEFT JOIN (SELECT DISTINCT ON (kind) * FROM export_parts WHERE export_id = %(id)s
                          ORDER BY kind, number DESC) p ON p.export_id = e.id
WHERE e.id = %(id)s AND e.workspace_id = %(workspace_id)s
GROUP BY e.id

-- name: begin_export
-- Begin an export.
INSERT INTO exports (id, workspace_id, format, secret, expires_at)
VALUES (%(id)s, %(workspace_id)s, %(format)s, %(secret)s, now() + %(keep)s)

-- name: fix_documents
-- Fix what an export is of.
INSERT INTO export_documents (export_id, document_id, generation)
SELECT %(id)s, id, generation FROM documents WHERE workspace_id = %(workspace_id)s AND state <> 'deleted'

-- name: estimate_rows
-- Estimate how many rows an export will have, for its progress.
UPDATE exports SET expected_rows = (
    SELECT count(*) + coalesce(sum(d.page_count), 0) + coalesce(sum(d.chunk_count), 0)
    FROM export_documents e JOIN documents d ON d.id = e.document_id WHERE e.export_id = %(id)s
) + (SELECT count(*) FROM chunk_embeddings WHERE workspace_id = %(workspace_id)s)
WHERE id = %(id)s

-- name: read_documents
-- Return the next documents of an export.
SELECT d.id::text, d.name, d.state, encode(d.content_sha256, 'hex'), d.byte_count, e.generation, d.page_count,
       d.chunk_count, d.failure_code, d.failure_message,
       to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       to_char(d.ready_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM export_documents e JOIN documents d ON d.id = e.document_id AND d.state <> 'deleted'
WHERE e.export_id = %(id)s AND d.workspace_id = %(workspace_id)s
  AND e.document_id > %(after_1)s::uuid
ORDER BY e.document_id LIMIT %(rows)s

-- name: read_pages
-- Return the next pages of an export, as many as hold no more than so many bytes, but at least one.
SELECT document_id::text, number, text, lost FROM (
    SELECT *, sum(octet_length(text)) OVER (ORDER BY document_id, number) - octet_length(text) AS before FROM (
        SELECT e.document_id, p.number, p.text, p.lost
        FROM export_documents e CROSS JOIN LATERAL (
            SELECT number, text, lost FROM document_pages p
            WHERE p.document_id = e.document_id AND p.generation = e.generation
              AND (e.document_id > %(after_1)s::uuid OR p.number > %(after_2)s::int)
            ORDER BY number LIMIT %(rows)s) p
        WHERE e.export_id = %(id)s
          AND e.document_id >= %(after_1)s::uuid
        ORDER BY e.document_id, p.number LIMIT %(rows)s) next
) sized
WHERE before < %(size)s ORDER BY sized.document_id, number  -- the id, not the text of the same name

-- name: read_chunks
-- Return the next chunks of an export.
SELECT e.document_id::text, c.ordinal, c.text, encode(c.text_hash, 'hex'), c.page_from, c.page_to, c.char_start, c.char_end,
       c.token_count
FROM export_documents e CROSS JOIN LATERAL (
    SELECT * FROM chunks c
    WHERE c.document_id = e.document_id AND c.generation = e.generation
      AND (e.document_id > %(after_1)s::uuid OR c.ordinal > %(after_2)s::int)
    ORDER BY ordinal LIMIT %(rows)s) c
WHERE e.export_id = %(id)s AND e.document_id >= %(after_1)s::uuid
ORDER BY e.document_id, c.ordinal LIMIT %(rows)s

-- name: read_embeddings
-- Return the next vectors of a workspace: one a distinct text and model.
SELECT model, encode(text_hash, 'hex'), embedding FROM chunk_embeddings
WHERE workspace_id = %(workspace_id)s AND (model, text_hash) > (%(after_1)s::text, decode(%(after_2)s, 'hex'))
ORDER BY model, text_hash LIMIT %(rows)s

-- name: expect_blob
-- Let the sweeper remove a part's blob once its export expires.
INSERT INTO unowned_blobs (key, delete_after) SELECT %(key)s, expires_at FROM exports WHERE id = %(id)s
ON CONFLICT (key) DO NOTHING

-- name: add_part
-- Note a stored part.
INSERT INTO export_parts (export_id, kind, number, row_count, byte_count, sha256, blob_key, place, is_last)
VALUES (%(id)s, %(kind)s, %(number)s, %(rows)s, %(bytes)s, %(sha256)s, %(blob_key)s, %(place)s, %(is_last)s)

-- name: note_export_progress
-- Note how far an export is, in its job and in the log.
WITH progress AS (
    SELECT least(99, 100 * (SELECT sum(row_count) FROM export_parts WHERE export_id = e.id)
                     / greatest(e.expected_rows, 1))::smallint AS percent
    FROM exports e WHERE e.id = %(id)s
), job AS (
    UPDATE jobs SET progress = greatest(jobs.progress, percent) FROM progress WHERE id = %(id)s
    RETURNING jobs.id, jobs.workspace_id, jobs.progress, jobs.attempt
)
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT id, workspace_id, 'progress', jsonb_build_object('progress', progress, 'attempt', attempt) FROM job

-- name: read_parts
-- Return every part of an export.
SELECT kind, number, row_count, byte_count, sha256, blob_key, place, is_last FROM export_parts WHERE export_id = %(id)s
ORDER BY array_position(ARRAY['documents', 'pages', 'chunks', 'embeddings'], kind), number

-- name: finish_export
-- Write an export's manifest, and how many of its documents have become others since it began.
UPDATE exports SET finished_at = now(), manifest = %(manifest)s, changed_documents = (
    SELECT count(*) FROM export_documents e
    WHERE e.export_id = exports.id AND NOT EXISTS (
        SELECT FROM documents d
        WHERE d.id = e.document_id AND d.generation = e.generation AND d.state <> 'deleted'))
WHERE id = %(id)s RETURNING changed_documents, expires_at

-- name: forget_documents
-- Forget what an export was of, once it is done.
DELETE FROM export_documents WHERE export_id = %(id)s

-- name: note_export_ready
-- Put the news of a finished export into the log.
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT id, workspace_id, 'export.ready', jsonb_build_object(
    'export_id', id, 'format', format, 'expires_at', expires_at, 'changed_documents', changed_documents)
FROM exports WHERE id = %(id)s

-- name: list_exports
-- Return exports of a workspace, the latest first, with how their jobs are.
SELECT e.id, e.format, e.created_at, e.finished_at, e.expires_at, e.changed_documents, e.manifest,
       CASE WHEN e.expires_at < now() THEN 'expired' WHEN e.finished_at IS NOT NULL THEN 'ready'
            WHEN j.state IN ('failed', 'cancelled') THEN j.state ELSE 'running' END AS state
FROM exports e LEFT JOIN jobs j ON j.id = e.id
WHERE e.workspace_id = %(workspace_id)s AND (%(id)s::uuid IS NULL OR e.id = %(id)s)
  AND (%(before)s::timestamptz IS NULL OR (e.created_at, e.id) < (%(before)s, %(before_id)s::uuid))
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s

-- name: find_link
-- Return what a download link is checked with, and the blob that it leads to. Whoever follows one has no workspace.
SELECT e.secret, e.format, p.blob_key, p.sha256 FROM exports e JOIN export_parts p ON p.export_id = e.id
WHERE e.id = %(id)s AND e.finished_at IS NOT NULL AND e.expires_at > now()
  AND p.kind = %(kind)s AND p.number = %(number)s

-- name: read_secret
-- Return what signs the links of a workspace's export.
SELECT secret FROM exports WHERE id = %(id)s AND workspace_id = %(workspace_id)s
