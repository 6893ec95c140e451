-- Pictures: uploads, what is made of them and of documents' pages, and files that nobody has looked at yet.

CREATE TABLE media_files (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces,
    kind text NOT NULL CHECK (kind IN ('file', 'upload', 'thumbnail', 'optimized', 'processed')),
    state text NOT NULL CHECK (state IN ('pending', 'ready', 'failed')),
    name text NOT NULL,
    job_id uuid,                          -- the only job that may make it; NULL: it was uploaded as it is
    recipe jsonb,
    source_media_id uuid,                 -- no references: what was made of a picture outlives it
    source_document_id uuid,
    document_id uuid,                     -- the document that a file turned out to be; it owns the blob
    blob_key text,
    content_sha256 bytea CHECK (length(content_sha256) = 32),
    byte_count bigint,
    media_type text,
    width integer CHECK (width > 0),      -- NULL for uploads: nobody has decoded them
    height integer CHECK (height > 0),
    frames integer CHECK (frames > 0),
    unchanged boolean NOT NULL DEFAULT false,  -- the source's own bytes, because nothing smaller could be made
    failure_code text,
    failure_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    CHECK (state <> 'ready' OR (blob_key IS NULL) <> (document_id IS NULL)),
    CHECK ((blob_key IS NULL) OR (content_sha256 IS NOT NULL AND byte_count IS NOT NULL)),
    CHECK ((failure_code IS NOT NULL) = (state = 'failed')),
    CHECK ((ready_at IS NOT NULL) = (state = 'ready'))
);
CREATE INDEX media_files_by_workspace ON media_files (workspace_id, created_at DESC, id DESC);
CREATE INDEX media_files_pending ON media_files (workspace_id) WHERE state = 'pending';
CREATE INDEX media_files_by_job ON media_files (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX media_files_by_source ON media_files (source_media_id) WHERE source_media_id IS NOT NULL;
SELECT keep_workspaces_apart('media_files', 'SELECT, INSERT, UPDATE, DELETE');

-- A job that ends badly takes its picture along, whatever ended it; one that is replayed gives it another chance.
CREATE FUNCTION follow_media_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'pending' THEN
        UPDATE media_files SET state = 'pending', failure_code = NULL, failure_message = NULL
        WHERE job_id = NEW.id AND state = 'failed';
    ELSE
        UPDATE media_files SET state = 'failed', failure_code = coalesce(NEW.failure_code, 'cancelled'),
            failure_message = coalesce(NEW.failure_message, 'The job was cancelled.')
        WHERE job_id = NEW.id AND state = 'pending';
    END IF;
    RETURN NULL;
END $$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION follow_media_job() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;
CREATE TRIGGER follow_media_job AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (NEW.queue = 'media' AND OLD.state <> NEW.state
      AND (NEW.state IN ('failed', 'cancelled') OR (NEW.state = 'pending' AND OLD.state IN ('failed', 'cancelled'))))
EXECUTE FUNCTION follow_media_job();
