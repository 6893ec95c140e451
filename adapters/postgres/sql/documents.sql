-- name: insert_document
-- Add an uploaded document together with the id of the job that will extract it.
INSERT INTO documents (id, workspace_id, name, blob_key, content_sha256, byte_count, job_id)
VALUES (%(id)s, %(workspace_id)s, %(name)s, %(blob_key)s, %(content_sha256)s, %(byte_count)s, %(job_id)s)

-- name: lock_content
-- Let two uploads of the same bytes into one workspace wait for each other until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(%(workspace_id)s::text || encode(%(content_sha256)s, 'hex'), 0))

-- name: find_by_content
-- Find the newest live document with these bytes in the workspace, but for one that is being erased.
SELECT id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation, target_generation, job_id
FROM documents d WHERE workspace_id = %(workspace_id)s AND content_sha256 = %(content_sha256)s AND state <> 'deleted'
  AND NOT EXISTS (SELECT FROM erasures e
                  WHERE e.workspace_id = d.workspace_id AND e.document_id = d.id AND e.finished_at IS NULL)
ORDER BY created_at DESC LIMIT 1

-- name: start_extraction
-- uploaded | extracting | indexing -> extracting, by the document's own job or when that one has ended, which is asked
-- only when the document is held already: who waits for its lock does not see the job that was put in meanwhile.
-- (IS NOT DISTINCT FROM keeps the planner from looking through the whole workspace while the tables are small.)
UPDATE documents d SET state = 'extracting', job_id = %(job_id)s, updated_at = now()
WHERE d.id = %(id)s AND d.workspace_id IS NOT DISTINCT FROM %(workspace_id)s
  AND d.state IN ('uploaded', 'extracting', 'indexing')
  AND (d.job_id IS NULL OR d.job_id = %(job_id)s
       OR %(is_held)s AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = d.job_id AND j.finished_at IS NULL OFFSET 0))
RETURNING id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation, target_generation, job_id,
          pages_done, page_count

-- name: finish_extraction
-- extracting -> indexing, handing the document to the next job. A run that found nothing left to read has seen no flaws.
UPDATE documents SET state = 'indexing', job_id = %(next_job_id)s, page_count = %(pages)s, pages_done = %(pages)s,
    chunk_count = %(chunks)s, chunks_done = %(embedded)s, warning = coalesce(warning, %(warning)s), updated_at = now()
WHERE id = %(id)s AND state = 'extracting' AND job_id = %(job_id)s

-- name: start_indexing
-- Confirm that this job may index the document, as above; it keeps the state indexing.
UPDATE documents d SET job_id = %(job_id)s, updated_at = now()
WHERE d.id = %(id)s AND d.workspace_id IS NOT DISTINCT FROM %(workspace_id)s AND d.state = 'indexing'
  AND (d.job_id IS NULL OR d.job_id = %(job_id)s
       OR %(is_held)s AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = d.job_id AND j.finished_at IS NULL OFFSET 0))
RETURNING id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation, target_generation, job_id

-- name: record_pages
-- Note how many pages the file has and how many are stored.
UPDATE documents SET page_count = %(page_count)s, pages_done = %(pages_done)s, updated_at = now() WHERE id = %(id)s

-- name: record_chunks
-- Note how many chunks the target generation has and how many have their vector; add tokens spent.
UPDATE documents SET chunk_count = %(chunk_count)s, chunks_done = %(chunks_done)s,
    tokens_embedded = tokens_embedded + %(tokens)s, updated_at = now()
WHERE id = %(id)s

-- name: publish
-- indexing -> ready: readers see the target generation from here on.
UPDATE documents SET state = 'ready', generation = target_generation, chunk_count = %(chunks)s, chunks_done = %(chunks)s,
    tokens_embedded = tokens_embedded + %(tokens)s, ready_at = now(), updated_at = now()
WHERE id = %(id)s AND state = 'indexing' AND job_id = %(job_id)s

-- name: fail
-- uploaded | extracting | indexing -> failed, because its job ended badly.
UPDATE documents SET state = 'failed', failure_code = %(code)s, failure_message = %(message)s, updated_at = now()
WHERE id = %(id)s AND job_id = %(job_id)s AND state IN ('uploaded', 'extracting', 'indexing')

-- name: reindex
-- ready | failed -> uploaded, building a new generation beside the one that readers see.
UPDATE documents SET state = 'uploaded', job_id = %(job_id)s, target_generation = target_generation + 1,
    blob_key = coalesce(%(blob_key)s, blob_key),
    failure_code = NULL, failure_message = NULL, warning = NULL, page_count = NULL, pages_done = 0,
    chunk_count = NULL, chunks_done = 0, tokens_embedded = 0, updated_at = now()
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state IN ('ready', 'failed')

-- name: replace
-- Any state but deleted -> uploaded, with new bytes: readers see the old generation until the new one is published.
UPDATE documents SET state = 'uploaded', job_id = %(job_id)s, target_generation = target_generation + 1,
    blob_key = %(blob_key)s, content_sha256 = %(content_sha256)s, byte_count = %(byte_count)s,
    failure_code = NULL, failure_message = NULL, warning = NULL, page_count = NULL, pages_done = 0,
    chunk_count = NULL, chunks_done = 0, tokens_embedded = 0, updated_at = now()
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state <> 'deleted'

-- name: take_turn
-- Let those who restart, replace or delete a document wait for each other, before they hold its jobs and itself.
SELECT pg_advisory_xact_lock(hashtextextended('document ' || %(id)s::text, 0))

-- name: lock_document
-- Return a live document and hold it until the transaction ends.
SELECT id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation, target_generation, job_id
FROM documents WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state <> 'deleted' FOR NO KEY UPDATE

-- name: delete
-- Any state -> deleted; the row stays as a tombstone.
UPDATE documents SET state = 'deleted', failure_code = NULL, failure_message = NULL, updated_at = now()
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND state <> 'deleted'
RETURNING blob_key, job_id

-- name: find_stranded
-- List documents in flight that no unfinished job will move on.
SELECT d.id, d.workspace_id FROM documents d
WHERE d.state IN ('uploaded', 'extracting', 'indexing') AND d.updated_at < now() - %(age)s::interval
  AND NOT EXISTS (SELECT FROM jobs j WHERE j.document_id = d.id
                  AND j.state IN ('pending', 'queued', 'running', 'retrying'))
ORDER BY d.created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: adopt
-- Give a stranded document to a new job; the state stays, extraction goes on where it stopped.
UPDATE documents SET job_id = %(job_id)s, updated_at = now() WHERE id = %(id)s

-- name: show
-- Return everything a person wants to know of one document.
SELECT id, workspace_id, name, state, byte_count, page_count, pages_done, chunk_count, chunks_done, tokens_embedded,
       warning, generation, job_id, failure_code, failure_message, created_at, updated_at, ready_at
FROM documents WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: list
-- Return the newest documents of a workspace.
SELECT id, workspace_id, name, state, byte_count, page_count, pages_done, chunk_count, chunks_done, tokens_embedded,
       warning, generation, job_id, failure_code, failure_message, created_at, updated_at, ready_at
FROM documents WHERE workspace_id = %(workspace_id)s AND state <> 'deleted' ORDER BY created_at DESC LIMIT %(limit)s

-- name: count_by_state
-- Count documents per state.
SELECT state, count(*) AS documents FROM documents GROUP BY state


-- name: find_workspace
-- Find a workspace by its id or its name.
SELECT id FROM workspaces WHERE id::text = lower(%(workspace)s) OR name = %(workspace)s
ORDER BY id::text = lower(%(workspace)s) DESC LIMIT 1

-- name: workspace_names
-- List the workspaces that people use.
SELECT name FROM workspaces WHERE name <> 'system' ORDER BY name LIMIT 20

-- name: follow
-- Return how far some documents are, deleted ones too.
SELECT id, name, state, page_count, pages_done, chunk_count, chunks_done, tokens_embedded, warning, failure_code,
       failure_message
FROM documents WHERE id = ANY(%(ids)s)

-- name: stages
-- Return the jobs of a document in the order they were put in: stage by stage, what it took.
SELECT id, actor, queue, state, attempt, crash_count, created_at, started_at, finished_at,
       extract(epoch FROM finished_at - started_at)::float8 AS seconds, failure_code, failure_message
FROM jobs WHERE document_id = %(document_id)s ORDER BY created_at, id

-- name: attempts
-- Return every run of some jobs, oldest first.
SELECT a.job_id, j.actor, a.lease, a.started_at, a.ended_at,
       extract(epoch FROM a.ended_at - a.started_at)::float8 AS seconds, a.outcome, a.error
FROM job_runs a JOIN jobs j ON j.id = a.job_id
WHERE a.job_id = ANY(%(job_ids)s) ORDER BY a.started_at, a.lease

-- name: opening
-- Return how the published text of a document begins.
SELECT c.text FROM chunks c JOIN documents d ON d.id = c.document_id AND d.generation = c.generation
WHERE d.id = %(document_id)s ORDER BY c.ordinal LIMIT 1

-- name: relay_leads
-- Tell whether some worker process leads the relay: it holds this advisory lock as long as it lives.
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (classid::bigint << 32 | objid::bigint) = %(lock)s) AS leads
