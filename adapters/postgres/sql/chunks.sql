-- name: delete_generation
-- Remove the chunks of one generation, before it is built anew.
DELETE FROM chunks WHERE document_id = %(document_id)s AND generation = %(generation)s

-- name: copy
-- Stream chunks in.
COPY chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to, char_start, char_end,
             token_count) FROM STDIN (FORMAT BINARY)

-- name: missing
-- Return each distinct text of a generation that has no vector yet, in reading order.
SELECT text_hash, text, token_count FROM chunks
WHERE document_id = %(document_id)s AND generation = %(generation)s AND ordinal = ANY (ARRAY(
    SELECT min(ordinal) FROM chunks c WHERE document_id = %(document_id)s AND generation = %(generation)s
    GROUP BY text_hash
    HAVING NOT EXISTS (SELECT FROM chunk_embeddings e
                       WHERE e.workspace_id = %(workspace_id)s AND e.model = %(model)s AND e.text_hash = c.text_hash
                       OFFSET 0)))  -- looked up one by one: the table is large, the document is not
ORDER BY ordinal

-- name: count_embedded
-- Count the chunks of a generation, and how many of them have their vector.
SELECT count(*) AS chunks, count(e.text_hash) AS embedded
FROM chunks c LEFT JOIN chunk_embeddings e
  ON e.workspace_id = c.workspace_id AND e.model = %(model)s AND e.text_hash = c.text_hash
WHERE c.document_id = %(document_id)s AND c.generation = %(generation)s

-- name: embed
-- Keep the vectors that are new to the workspace; they come sorted, so that two documents cannot deadlock.
INSERT INTO chunk_embeddings (workspace_id, model, text_hash, embedding)
SELECT %(workspace_id)s, %(model)s, text_hash, embedding
FROM unnest(%(text_hashes)b::bytea[], %(embeddings)b::halfvec[]) AS new (text_hash, embedding)
ON CONFLICT DO NOTHING

-- name: index_waiting
-- Let waiting vectors enter the index; while documents are on their way, only when more than `spare` wait.
UPDATE chunk_embeddings SET is_indexed = true WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM chunk_embeddings WHERE NOT is_indexed
    LIMIT CASE WHEN NOT EXISTS (SELECT FROM jobs WHERE state IN ('queued', 'running') AND document_id IS NOT NULL)
                 OR (SELECT count(*) FROM (SELECT FROM chunk_embeddings WHERE NOT is_indexed LIMIT %(spare)s + 1) w) > %(spare)s
               THEN %(limit)s ELSE 0 END
    FOR UPDATE SKIP LOCKED))

-- name: delete_others
-- Remove the chunks of every generation but one; return their texts' hashes.
DELETE FROM chunks WHERE document_id = %(document_id)s AND generation <> %(generation)s RETURNING text_hash

-- name: keep_vectors
-- Until the end of the transaction, let nobody remove vectors of the workspace.
SELECT pg_advisory_xact_lock_shared(hashtextextended('vectors ' || %(workspace_id)s::text, 0))

-- name: lock_vectors
-- Wait for those who count on vectors of the workspace and have not committed their chunks yet.
SELECT pg_advisory_xact_lock(hashtextextended('vectors ' || %(workspace_id)s::text, 0))

-- name: delete_unneeded
-- Remove those of the vectors that no chunk of the workspace needs any more.
DELETE FROM chunk_embeddings e
WHERE e.workspace_id = %(workspace_id)s AND e.text_hash = ANY(%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunks c WHERE c.workspace_id = e.workspace_id AND c.text_hash = e.text_hash)
