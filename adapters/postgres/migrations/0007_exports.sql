-- Exports and erasures: what a workspace takes along, and what is left of it.

-- One row per export, under the id of its job. Blobs of parts are noted in unowned_blobs until the export expires, so that
-- the sweeper removes them whatever becomes of the rest.
CREATE TABLE exports (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    format text NOT NULL CHECK (format IN ('jsonl', 'parquet')),
    secret bytea NOT NULL CHECK (length(secret) = 32),   -- signs download links; no list ever reads it
    expected_rows bigint NOT NULL DEFAULT 0,             -- estimated at the start, for progress
    changed_documents integer,                           -- documents that became others while the export ran
    manifest jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    expires_at timestamptz NOT NULL,
    CHECK ((finished_at IS NULL) = (manifest IS NULL))
);
CREATE INDEX exports_by_workspace ON exports (workspace_id, created_at DESC, id DESC);
CREATE INDEX exports_expiry ON exports (expires_at);

-- What the export is of: fixed when it begins, whatever happens to the documents afterwards.
CREATE TABLE export_documents (
    export_id uuid NOT NULL REFERENCES exports ON DELETE CASCADE,
    document_id uuid NOT NULL,
    generation integer NOT NULL,
    PRIMARY KEY (export_id, document_id)
);

-- Parts that are stored. `place`: the key of the last row, behind which the next part begins; a killed export goes on there.
CREATE TABLE export_parts (
    export_id uuid NOT NULL REFERENCES exports ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('documents', 'pages', 'chunks', 'embeddings')),
    number integer NOT NULL CHECK (number > 0),
    row_count bigint NOT NULL,
    byte_count bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    blob_key text NOT NULL,
    place jsonb NOT NULL,
    is_last boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (export_id, kind, number)
);

-- Receipts: what was erased, by count. They name nothing of what is gone but the document's id.
CREATE TABLE erasures (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    document_id uuid,                                    -- NULL: the whole workspace
    counts jsonb NOT NULL DEFAULT '{}',
    blob_key text,                                       -- still to be deleted
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX erasures_by_workspace ON erasures (workspace_id, created_at DESC, id DESC);

-- The API cannot read the secrets that sign its links: those who follow one have no workspace, and are checked elsewhere.
SELECT keep_workspaces_apart('exports',
    'SELECT (id, workspace_id, format, expected_rows, changed_documents, manifest, created_at, finished_at, expires_at)');
SELECT keep_workspaces_apart('export_documents', 'SELECT',
    'EXISTS (SELECT FROM exports e WHERE e.id = export_id AND e.workspace_id = current_workspace())');
SELECT keep_workspaces_apart('export_parts', 'SELECT',
    'EXISTS (SELECT FROM exports e WHERE e.id = export_id AND e.workspace_id = current_workspace())');
SELECT keep_workspaces_apart('erasures', 'SELECT');

-- Reads relations into memory where the server has it; `warm_cache` does without where it has not.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_prewarm;
EXCEPTION
    WHEN undefined_file OR feature_not_supported OR insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
END $$;
