-- The HTTP API: its keys, its memory of repeated requests, and a second wall between workspaces.

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces,
    name text NOT NULL,
    prefix text NOT NULL UNIQUE,         -- how the key begins: what people see, and what it is looked up by
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),  -- of the whole key, which nobody can read again
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz             -- to the minute
);
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_at);

-- One row per Idempotency-Key, committed together with the job that its request put in.
CREATE TABLE idempotency_keys (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    operation text NOT NULL,             -- method and path: the same key for another operation is another key
    key text NOT NULL,
    owner uuid NOT NULL,                 -- the request that works on it
    busy_until timestamptz NOT NULL,     -- a process that died holds the key no longer than this
    fingerprint bytea,                   -- SHA-256 of the request's content
    status smallint,                     -- NULL: no answer yet
    headers jsonb,
    body jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, operation, key),
    CHECK ((status IS NULL) = (body IS NULL)),
    CHECK (status IS NULL OR fingerprint IS NOT NULL)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- The tasks of a workspace, the latest first: one per job, except that indexing is the second half of its document's task.
CREATE INDEX jobs_by_workspace ON jobs (workspace_id, created_at, id)
    WHERE actor <> 'index_document' AND queue <> 'webhooks' AND workspace_id <> '00000000-0000-0000-0000-000000000000';
-- The jobs of a document in their order; it also serves what the narrower index did.
CREATE INDEX jobs_by_document ON jobs (document_id, created_at) WHERE document_id IS NOT NULL;
DROP INDEX jobs_unfinished_by_document;

-- A second wall. Every statement names its workspace; if one ever forgot, the database would still show and change rows
-- of the caller's workspace alone: a transaction of the API assumes the role headrace_api and names its workspace once.
-- Workers are the tables' owner, whom policies do not concern.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'headrace_api') THEN
        CREATE ROLE headrace_api NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was faster
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role headrace_api is missing and % may not create roles', current_user
            USING HINT = format('As a superuser: CREATE ROLE headrace_api NOLOGIN; GRANT headrace_api TO %I;', current_user);
END $$;
DO $$
BEGIN
    -- A superuser may assume every role, and so may whom somebody has granted it.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN
            SET LOCAL ROLE headrace_api;
            RESET ROLE;
        EXCEPTION WHEN insufficient_privilege THEN
            BEGIN
                EXECUTE format('GRANT headrace_api TO %I', current_user);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE EXCEPTION '% may not become headrace_api', current_user
                    USING HINT = format('As a superuser: GRANT headrace_api TO %I;', current_user);
            END;
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO headrace_api', current_schema());
END $$;

CREATE FUNCTION current_workspace() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('headrace.workspace_id', true), '')::uuid;

-- Let the API see and change rows of its workspace alone. Later migrations call this for every table with a workspace.
-- `privileges`: what the API may do at all, '' for nothing. `belongs`: whether a row is the current workspace's.
CREATE FUNCTION keep_workspaces_apart(
    relation regclass, privileges text, belongs text DEFAULT 'workspace_id = current_workspace()'
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('CREATE POLICY own_workspace ON %s USING (current_user <> ''headrace_api'' OR (%s))', relation, belongs);
    IF privileges <> '' THEN
        EXECUTE format('GRANT %s ON %s TO headrace_api', privileges, relation);
    END IF;
END $$;

SELECT keep_workspaces_apart('workspaces', 'SELECT', 'id = current_workspace()');
SELECT keep_workspaces_apart('jobs', 'SELECT, INSERT, UPDATE');
SELECT keep_workspaces_apart('job_attempts', 'SELECT, INSERT',
    'EXISTS (SELECT FROM jobs WHERE jobs.id = job_id AND jobs.workspace_id = current_workspace())');
SELECT keep_workspaces_apart('job_events', 'SELECT, INSERT');
SELECT keep_workspaces_apart('documents', 'SELECT, INSERT, UPDATE');
SELECT keep_workspaces_apart('document_pages', 'SELECT, DELETE',
    'EXISTS (SELECT FROM documents d WHERE d.id = document_id AND d.workspace_id = current_workspace())');
SELECT keep_workspaces_apart('chunks', 'SELECT, DELETE');
SELECT keep_workspaces_apart('chunk_embeddings', 'SELECT, DELETE');
SELECT keep_workspaces_apart('workspace_daily_usage', 'SELECT');
SELECT keep_workspaces_apart('token_reservations', 'SELECT, DELETE');
SELECT keep_workspaces_apart('unowned_blobs', 'SELECT, INSERT, UPDATE, DELETE',
    'starts_with(key, current_workspace() || ''/'')');
SELECT keep_workspaces_apart('api_keys', '');
SELECT keep_workspaces_apart('idempotency_keys', 'SELECT, INSERT, UPDATE, DELETE');

-- How far a document is on one scale for both stages, 0 to 100: extraction fills the first half, indexing the second.
-- It never goes back while a generation is built, even if an attempt begins a stage again.
ALTER TABLE documents ADD COLUMN progress smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100);
-- How far an ended or overtaken job came; NULL while its document still says so.
ALTER TABLE jobs ADD COLUMN progress smallint CHECK (progress BETWEEN 0 AND 100);

CREATE FUNCTION note_document_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.progress := CASE
        WHEN NEW.target_generation <> OLD.target_generation THEN 0
        WHEN NEW.state = 'ready' THEN 100
        WHEN NEW.state = 'extracting' THEN
            greatest(OLD.progress, least(49, coalesce(50 * NEW.pages_done / nullif(NEW.page_count, 0), 0)))
        WHEN NEW.state = 'indexing' THEN
            greatest(OLD.progress, 50 + least(49, coalesce(50 * NEW.chunks_done / nullif(NEW.chunk_count, 0), 0)))
        ELSE OLD.progress END;
    -- Whoever ends, replaces or deletes a document in flight holds its job already.
    IF OLD.state IN ('uploaded', 'extracting', 'indexing')
       AND (NEW.state IN ('failed', 'deleted') OR NEW.target_generation <> OLD.target_generation) THEN
        UPDATE jobs SET progress = OLD.progress WHERE id = OLD.job_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note_document_progress BEFORE UPDATE ON documents
    FOR EACH ROW EXECUTE FUNCTION note_document_progress();

-- Jobs as the API tells of them. A document's task is the job that extracts it and, from its success on, the job that
-- indexes what was extracted: the first that was put in before the document was started over.
CREATE VIEW tasks WITH (security_invoker = true) AS
SELECT e.id, e.workspace_id, e.document_id, e.actor AS kind, s.id AS job_id, s.actor AS stage, s.queue, s.state,
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
GRANT SELECT ON job_runs, tasks TO headrace_api;
