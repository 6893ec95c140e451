-- Workspaces, documents and what becomes of them, tokens, and the ledger of jobs.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    daily_token_budget bigint CHECK (daily_token_budget >= 0),  -- NULL: no limit
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO workspaces (id, name) VALUES
    ('00000000-0000-0000-0000-000000000000', 'system'),     -- owns housekeeping jobs
    ('00000000-0000-4000-8000-000000000001', 'default');    -- what the command line uses unless told otherwise

-- The ledger: the truth about every job. A row's id is the Dramatiq message id.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    queue text NOT NULL,
    actor text NOT NULL,
    message jsonb NOT NULL,              -- the Dramatiq message: args, kwargs, options
    workspace_id uuid NOT NULL,
    document_id uuid,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled')),
    priority smallint NOT NULL DEFAULT 0,
    available_at timestamptz NOT NULL DEFAULT now(),
    hinted_at timestamptz,               -- when Redis was last told of it
    lease bigint NOT NULL DEFAULT 0,     -- the fence: grows with every claim, never shrinks
    lease_owner uuid,                    -- a fresh id per worker process; kept when the attempt ends
    lease_expires_at timestamptz,
    claimed_at timestamptz,              -- when the last attempt began
    attempt integer NOT NULL DEFAULT 0,  -- runs that count: parked and handed-back ones do not
    crash_count integer NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    failure_code text,
    failure_message text,
    failure_fingerprint text,            -- groups failures with the same cause
    replayed_by uuid,                    -- the job that has taken this dead letter's place
    CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
    CHECK ((lease_expires_at IS NOT NULL) = (state = 'running')),
    CHECK (lease = 0 OR (lease_owner IS NOT NULL AND claimed_at IS NOT NULL)),
    CHECK ((failure_code IS NOT NULL) = (state = 'failed'))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

-- What the relay picks from, workspace by workspace.
CREATE INDEX jobs_waiting ON jobs (queue, workspace_id, priority, available_at) WHERE state IN ('pending', 'retrying');
-- When the relay has to wake up next, and the age of the oldest waiting job.
CREATE INDEX jobs_due ON jobs (available_at) WHERE state IN ('pending', 'retrying');
-- What is rung for or running: few at a time. Deliberately not on hinted_at or lease_expires_at: rings and heartbeats
-- stay heap-only updates. By id first, so that it serves those as well who look for one job.
CREATE INDEX jobs_in_flight ON jobs (id, queue, workspace_id) WHERE state IN ('queued', 'running');
-- A job whose worker died is a suspect. At most one of them runs in a worker process: if that dies too, its neighbours
-- are new to the matter, and none of them is failed for what the suspect did.
CREATE UNIQUE INDEX jobs_one_suspect ON jobs (lease_owner) WHERE state = 'running' AND crash_count > 0;
CREATE INDEX jobs_unfinished_by_document ON jobs (document_id)
    WHERE document_id IS NOT NULL AND state IN ('pending', 'queued', 'running', 'retrying');
-- Retention, and the dead letters.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE state IN ('succeeded', 'cancelled');
CREATE INDEX jobs_failed ON jobs (finished_at) WHERE state = 'failed';

-- Attempts that have ended, one row each; the running one is known from its job.
CREATE TABLE job_attempts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    lease bigint NOT NULL,
    owner uuid NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    outcome text NOT NULL CHECK (outcome IN ('succeeded', 'retrying', 'parked', 'interrupted', 'failed', 'cancelled', 'crashed')),
    error text,
    traceback text,
    PRIMARY KEY (job_id, lease)
);
CREATE INDEX job_attempts_crashed ON job_attempts (owner) WHERE outcome = 'crashed';

CREATE VIEW job_runs WITH (security_invoker = true) AS
SELECT job_id, lease, started_at, ended_at, outcome, error, traceback FROM job_attempts
UNION ALL
SELECT id, lease, claimed_at, NULL, NULL, NULL, NULL FROM jobs WHERE state = 'running';

-- An append-only log of what happened, in commit order per job; live progress replays it.
CREATE TABLE job_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    document_id uuid,
    event text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX job_events_by_document ON job_events (document_id, id);
CREATE INDEX job_events_by_job ON job_events (job_id, id);

-- One row per tick of a periodic actor: two schedulers do no harm.
CREATE TABLE schedule_ticks (
    actor text NOT NULL,
    tick timestamptz NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (actor, tick)
);

CREATE TABLE documents (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'uploaded'
        CHECK (state IN ('uploaded', 'extracting', 'indexing', 'ready', 'failed', 'deleted')),
    blob_key text NOT NULL,
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    byte_count bigint NOT NULL,
    page_count integer,
    pages_done integer NOT NULL DEFAULT 0,
    chunk_count integer,
    chunks_done integer NOT NULL DEFAULT 0,
    tokens_embedded bigint NOT NULL DEFAULT 0,  -- spent on the target generation; reused vectors cost nothing
    warning text,
    generation integer NOT NULL DEFAULT 0,          -- what readers see; 0: nothing yet
    target_generation integer NOT NULL DEFAULT 1,   -- what is being built
    job_id uuid,                                    -- the only job that may move this document on
    failure_code text,
    failure_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    UNIQUE (id, workspace_id),
    CHECK ((failure_code IS NOT NULL) = (state = 'failed')),
    CHECK (state <> 'ready' OR (generation > 0 AND ready_at IS NOT NULL AND chunk_count > 0))
) WITH (fillfactor = 80);

-- The same bytes twice in a workspace are one document, unless the caller asked for a copy (see receive_document).
CREATE INDEX documents_by_content ON documents (workspace_id, content_sha256) WHERE state <> 'deleted';
-- Deliberately not on updated_at: progress stays a heap-only update.
CREATE INDEX documents_in_flight ON documents (created_at) WHERE state IN ('uploaded', 'extracting', 'indexing');
CREATE INDEX documents_by_workspace ON documents (workspace_id, created_at DESC);

CREATE TABLE document_pages (
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    generation integer NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    text text NOT NULL,
    lost boolean NOT NULL DEFAULT false,  -- the page's content could not be read
    characters integer NOT NULL,          -- that are not white space
    PRIMARY KEY (document_id, generation, number)
);

CREATE TABLE chunks (
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    generation integer NOT NULL,
    ordinal integer NOT NULL,
    workspace_id uuid NOT NULL,
    text text NOT NULL,
    text_hash bytea NOT NULL CHECK (length(text_hash) = 32),
    page_from integer NOT NULL,
    page_to integer NOT NULL,
    char_start integer NOT NULL,   -- within page_from
    char_end integer NOT NULL,     -- within page_to, exclusive
    token_count integer NOT NULL,
    search_vector tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED,
    PRIMARY KEY (document_id, generation, ordinal)
);
CREATE INDEX chunks_by_text ON chunks (workspace_id, text_hash);
CREATE INDEX chunks_full_text ON chunks USING gin (search_vector);

-- One vector per distinct text of a workspace and model: a text is paid for once, whatever documents repeat it.
-- The column has no fixed dimension; each model gets an HNSW index on a cast (see adapters/postgres/vector_index.py).
-- To enter it costs more than everything else about a chunk, so vectors enter it later, in batches (`index_vectors`);
-- until then a search compares them one by one.
CREATE TABLE chunk_embeddings (
    workspace_id uuid NOT NULL,
    model text NOT NULL,
    text_hash bytea NOT NULL,
    embedding halfvec NOT NULL,
    is_indexed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, model, text_hash)
);
CREATE INDEX chunk_embeddings_waiting ON chunk_embeddings (workspace_id, model) WHERE NOT is_indexed;

CREATE TABLE workspace_daily_usage (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    day date NOT NULL,
    tokens bigint NOT NULL DEFAULT 0,
    pages bigint NOT NULL DEFAULT 0,
    chunks bigint NOT NULL DEFAULT 0,
    documents bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, day)
);

CREATE TABLE token_reservations (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    job_id uuid,
    tokens bigint NOT NULL CHECK (tokens >= 0),
    settled_batches integer NOT NULL DEFAULT 0,  -- a batch is booked once, even if the answer to its commit was lost
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX token_reservations_expiry ON token_reservations (expires_at);
CREATE INDEX token_reservations_by_job ON token_reservations (job_id);
CREATE INDEX token_reservations_by_workspace ON token_reservations (workspace_id);

-- Files that killed their parser: after two deaths under one parser version the content is quarantined.
CREATE TABLE parser_deaths (
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    parser_version text NOT NULL,
    deaths integer NOT NULL DEFAULT 1,
    code text NOT NULL,
    message text NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (content_sha256, parser_version)
);

-- Blobs that no document owns: noted before the upload begins, struck out by the transaction that adopts the blob, noted
-- again by the one that lets go of it. A crash between any two lines leaves a row here, never an orphan.
CREATE TABLE unowned_blobs (
    key text PRIMARY KEY,
    delete_after timestamptz NOT NULL
);
CREATE INDEX unowned_blobs_due ON unowned_blobs (delete_after);
CREATE INDEX job_events_age ON job_events (at);
CREATE INDEX schedule_ticks_age ON schedule_ticks (tick);
