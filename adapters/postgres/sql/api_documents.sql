-- name: read_document
-- Return everything that a caller may know of one document.
SELECT d.id, d.name, d.state, d.progress, d.byte_count, encode(d.content_sha256, 'hex') AS sha256, d.page_count,
       d.pages_done, d.chunk_count, d.chunks_done, d.tokens_embedded, d.warning, d.generation, d.target_generation,
       d.failure_code, d.failure_message, d.created_at, d.updated_at, d.ready_at, d.blob_key,
       (SELECT j.id FROM jobs j WHERE j.document_id = d.id AND j.actor = 'extract_document'
        ORDER BY j.created_at DESC LIMIT 1) AS task_id
FROM documents d WHERE d.id = %(id)s AND d.workspace_id = %(workspace_id)s AND d.state <> 'deleted'

-- name: list_documents
-- List the documents of a workspace that fit (NULL: any), the newest first.
SELECT d.id, d.name, d.state, d.progress, d.byte_count, encode(d.content_sha256, 'hex') AS sha256, d.page_count,
       d.pages_done, d.chunk_count, d.chunks_done, d.tokens_embedded, d.warning, d.generation, d.target_generation,
       d.failure_code, d.failure_message, d.created_at, d.updated_at, d.ready_at,
       (SELECT j.id FROM jobs j WHERE j.document_id = d.id AND j.actor = 'extract_document'
        ORDER BY j.created_at DESC LIMIT 1) AS task_id
FROM documents d
WHERE d.workspace_id = %(workspace_id)s AND d.state <> 'deleted'
  AND (%(states)s::text[] IS NULL OR d.state = ANY(%(states)s::text[]))
  AND (%(before)s::timestamptz IS NULL OR (d.created_at, d.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s

-- name: read_page
-- Return one page of what readers see of a document.
SELECT p.number, p.text, p.lost, d.generation FROM documents d
JOIN document_pages p ON p.document_id = d.id AND p.generation = d.generation
WHERE d.id = %(id)s AND d.workspace_id = %(workspace_id)s AND d.state <> 'deleted' AND p.number = %(number)s

-- name: list_chunks
-- Return a run of the chunks that readers see of a document, in order.
SELECT c.ordinal, c.page_from, c.page_to, c.char_start, c.char_end, c.token_count, c.text FROM documents d
JOIN chunks c ON c.document_id = d.id AND c.generation = d.generation
WHERE d.id = %(id)s AND d.workspace_id = %(workspace_id)s AND d.state <> 'deleted' AND c.generation = %(generation)s
  AND c.ordinal > %(after)s
ORDER BY c.ordinal LIMIT %(limit)s
