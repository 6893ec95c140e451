-- Jobs as the API tells of them. A document's task is the job that extracts it and, from its success on, the job that
-- indexes what was extracted: the first that was put in before the document was started over. A small document has none,
-- because the job that extracts it indexes it at once; its stage is then told by the document.
CREATE OR REPLACE VIEW tasks WITH (security_invoker = true) AS
SELECT e.id, e.workspace_id, e.document_id, e.actor AS kind, s.id AS job_id,
       CASE WHEN d.job_id = s.id AND d.state IN ('indexing', 'ready') THEN 'index_document' ELSE s.actor END AS stage,
       s.queue, s.state,
       CASE WHEN s.state = 'succeeded' THEN 'completed'
            WHEN s.state IN ('failed', 'cancelled') THEN s.state
            WHEN s.state = 'running' OR e.started_at IS NOT NULL THEN 'processing'
            ELSE 'pending' END AS status,
       CASE WHEN s.state = 'succeeded' THEN 100
            ELSE least(99, coalesce(s.progress, CASE WHEN d.job_id = s.id THEN d.progress END, 0)) END AS progress,
       s.attempt, s.crash_count, s.cancel_requested_at IS NOT NULL AS cancel_requested, s.available_at,
       e.created_at, e.started_at, s.finished_at, s.failure_code, s.failure_message, s.replayed_by,
       CASE WHEN d.job_id = s.id AND d.state = 'ready' THEN d.generation END AS generation,
       CASE WHEN d.job_id = s.id THEN d.page_count END AS page_count,
       CASE WHEN d.job_id = s.id THEN d.chunk_count END AS chunk_count,
       CASE WHEN d.job_id = s.id THEN d.tokens_embedded END AS tokens_embedded
FROM jobs e
CROSS JOIN LATERAL (
    SELECT coalesce((
        SELECT i.id FROM jobs i
        WHERE e.actor = 'extract_document' AND e.state = 'succeeded'
          AND i.document_id = e.document_id AND i.actor = 'index_document' AND i.created_at >= e.created_at
          AND NOT EXISTS (SELECT FROM jobs later
                          WHERE later.document_id = e.document_id AND later.actor = 'extract_document'
                            AND later.created_at > e.created_at AND later.created_at <= i.created_at)
        ORDER BY i.created_at LIMIT 1), e.id) AS job_id
    OFFSET 0  -- behind policies an index is used for plain columns, not for what a pulled-up coalesce becomes
) stage
JOIN jobs s ON s.id = stage.job_id
LEFT JOIN documents d ON d.id = e.document_id
WHERE e.actor <> 'index_document' AND e.queue <> 'webhooks'
  AND e.workspace_id <> '00000000-0000-0000-0000-000000000000';
