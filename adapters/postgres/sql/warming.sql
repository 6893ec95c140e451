-- name: can_prewarm
-- Tell whether the server has pg_prewarm and lets us use it.
SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_extension e ON e.extname = 'pg_prewarm'
               JOIN pg_depend d ON d.refobjid = e.oid AND d.objid = p.oid
               WHERE p.proname = 'pg_prewarm' AND has_function_privilege(p.oid, 'EXECUTE')) AS can

-- name: warm_relations
-- List what a search reads: tables, their long texts, and their indexes, the smallest first.
SELECT c.oid::regclass::text AS relation, pg_relation_size(c.oid) AS size FROM pg_class c
WHERE c.oid IN (
    SELECT r.oid FROM pg_class r WHERE r.relnamespace = current_schema()::regnamespace
       AND r.relname IN ('chunks', 'chunk_embeddings', 'documents')
    UNION SELECT r.reltoastrelid FROM pg_class r WHERE r.relnamespace = current_schema()::regnamespace
       AND r.relname IN ('chunks', 'chunk_embeddings') AND r.reltoastrelid <> 0
    UNION SELECT i.indexrelid FROM pg_index i JOIN pg_class r ON r.oid = i.indrelid
       WHERE r.relnamespace = current_schema()::regnamespace AND r.relname IN ('chunks', 'chunk_embeddings', 'documents'))
ORDER BY size

-- name: prewarm
-- Read some blocks of a relation into memory; return how many.
SELECT pg_prewarm(%(relation)s::regclass, 'buffer', 'main', %(first)s::bigint,
                  least(%(last)s::bigint, pg_relation_size(%(relation)s::regclass) / 8192 - 1))
WHERE pg_relation_size(%(relation)s::regclass) / 8192 > %(first)s::bigint

-- name: sample_vectors
-- Return some of a workspace's vectors of one model, spread by their hashes.
SELECT embedding FROM chunk_embeddings WHERE workspace_id = %(workspace_id)s AND model = %(model)s
ORDER BY text_hash OFFSET %(skip)s LIMIT %(limit)s

-- name: probe
-- Find a vector's nearest neighbours; what that costs is explained.
SELECT text_hash FROM chunk_embeddings
WHERE workspace_id = %(workspace_id)s AND model = {model} AND is_indexed
ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) LIMIT 20

-- name: walk
-- Find a vector's nearest neighbours with their passages, as a search does.
SELECT count(length(c.text)) FROM (
    SELECT text_hash FROM chunk_embeddings
    WHERE workspace_id = %(workspace_id)s AND model = {model} AND is_indexed
    ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) LIMIT 50) near
JOIN chunks c ON c.workspace_id = %(workspace_id)s AND c.text_hash = near.text_hash

-- name: read_vectors
-- Read some vectors of a workspace as a whole; return how many, and the last one's key.
SELECT count(*), (array_agg(text_hash ORDER BY text_hash DESC))[1], sum(l2_norm(embedding)) FROM (
    SELECT text_hash, embedding FROM chunk_embeddings
    WHERE workspace_id = %(workspace_id)s AND model = %(model)s AND text_hash > %(after)s
    ORDER BY text_hash LIMIT %(limit)s) next

-- name: read_texts
-- Read the passages of some texts of a workspace; return how many, and the last one's key.
SELECT count(*), (array_agg(text_hash ORDER BY text_hash DESC))[1], sum(length(text)) FROM (
    SELECT text_hash, text FROM chunks WHERE workspace_id = %(workspace_id)s AND text_hash > %(after)s
    ORDER BY text_hash LIMIT %(limit)s) next

-- name: note_warming
-- Put what warming has changed into the log.
INSERT INTO job_events (job_id, workspace_id, event, data) VALUES (%(job_id)s, %(workspace_id)s, 'cache.warmed', %(data)s)
