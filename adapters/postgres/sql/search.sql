-- name: rank
-- Fuse nearest vectors and best full-text matches by reciprocal rank (Cormack et al., SIGIR 2009; k = 60).
-- Returns where the passages are, not what they say: `read` does that, under the caller's rights. The index of words
-- cannot be used under row-level security, whose filters come before every operator that might tell what it saw.
-- The index of vectors knows neither workspaces nor documents and gives up after hnsw.max_scan_tuples: where it finds fewer
-- than `depth`, or is not asked (`by_index`), the vectors of all wanted documents are compared.
WITH wanted AS NOT MATERIALIZED (
    SELECT d.id, d.workspace_id, d.generation, d.created_at FROM documents d
    WHERE d.state <> 'deleted'
      AND (%(document_ids)s::uuid[] IS NULL OR d.id = ANY(%(document_ids)s::uuid[]))
      AND (%(uploaded_from)s::timestamptz IS NULL OR d.created_at >= %(uploaded_from)s::timestamptz)
      AND (%(uploaded_to)s::timestamptz IS NULL OR d.created_at < %(uploaded_to)s::timestamptz)
), live AS NOT MATERIALIZED (
    SELECT e.text_hash, e.is_indexed, e.embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) AS distance
    FROM chunk_embeddings e WHERE %(by_meaning)s AND e.workspace_id = %(workspace_id)s AND e.model = {model}
      AND EXISTS (SELECT FROM chunks c JOIN wanted d ON d.id = c.document_id AND d.generation = c.generation
                  WHERE c.workspace_id = e.workspace_id AND c.text_hash = e.text_hash
                  OFFSET 0)  -- a filter per candidate: as a join it would lure the planner away from the index
), looked_up AS MATERIALIZED (
    SELECT text_hash, distance FROM live WHERE is_indexed AND %(by_index)s ORDER BY distance LIMIT %(depth)s
), enough AS MATERIALIZED (
    SELECT count(*) = %(depth)s AS found FROM looked_up
), waiting AS (
    SELECT text_hash, distance FROM live WHERE NOT is_indexed AND (SELECT found FROM enough)
    ORDER BY distance LIMIT %(depth)s
), compared AS (
    SELECT e.text_hash, e.embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) AS distance
    FROM wanted d JOIN chunks c ON c.document_id = d.id AND c.generation = d.generation
    JOIN chunk_embeddings e ON e.workspace_id = %(workspace_id)s AND e.model = {model} AND e.text_hash = c.text_hash
    WHERE %(by_meaning)s AND d.workspace_id = %(workspace_id)s AND NOT (SELECT found FROM enough)
), nearest AS (
    SELECT text_hash, row_number() OVER (ORDER BY distance, text_hash) AS place
    FROM (SELECT * FROM looked_up UNION SELECT * FROM waiting UNION SELECT * FROM compared) candidates
    ORDER BY place LIMIT %(depth)s
), words AS (
    SELECT replace(plainto_tsquery('english', %(query)s)::text, ' & ', ' | ')::tsquery AS query
), matching AS (
    SELECT text_hash, row_number() OVER (ORDER BY score DESC, text_hash) AS place FROM (
        SELECT c.text_hash, max(ts_rank_cd(c.search_vector, words.query, 1)) AS score
        FROM chunks c JOIN wanted d ON d.id = c.document_id AND d.generation = c.generation, words
        WHERE %(by_words)s AND c.workspace_id = %(workspace_id)s AND c.search_vector @@ words.query
        GROUP BY c.text_hash ORDER BY score DESC, c.text_hash LIMIT %(depth)s) found
), fused AS (
    SELECT text_hash, sum(1.0 / (60 + place))::float8 AS score
    FROM (SELECT * FROM nearest UNION ALL SELECT * FROM matching) ranks GROUP BY text_hash
)
SELECT d.id AS document_id, c.generation, c.ordinal, f.score
FROM fused f
JOIN chunks c ON c.workspace_id = %(workspace_id)s AND c.text_hash = f.text_hash
JOIN wanted d ON d.id = c.document_id AND d.generation = c.generation
ORDER BY f.score DESC, d.created_at, d.id, c.ordinal LIMIT %(limit)s

-- name: read
-- Return passages in the given order; those that are gone meanwhile, or were never the workspace's, are left out.
SELECT d.id AS document_id, d.name AS document_name, c.ordinal, c.page_from, c.page_to, c.char_start, c.char_end,
       c.text, found.score
FROM unnest(%(document_ids)s::uuid[], %(generations)s::int[], %(ordinals)s::int[], %(scores)s::float8[])
     WITH ORDINALITY AS found (document_id, generation, ordinal, score, place)
JOIN chunks c USING (document_id, generation, ordinal)
JOIN documents d ON d.id = c.document_id AND d.state <> 'deleted'
WHERE c.workspace_id = %(workspace_id)s
ORDER BY found.place

-- name: widen_search
-- Until the end of the transaction, look at more candidates and go on until enough of them pass the filters.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %(ef_search)s, true)
