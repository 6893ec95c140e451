-- Live progress: jobs and documents note in job_events what a watcher wants to know, in the transaction that does it.
-- Triggers, so that no statement can forget it; their conditions are checked before any function is called, and jobs
-- of the system workspace, which nobody can watch, pass untouched.

-- Events of a document belong to the job that moves it on, if there is one.
ALTER TABLE job_events ALTER COLUMN job_id DROP NOT NULL;

CREATE INDEX job_events_by_workspace ON job_events (workspace_id, id)
    WHERE workspace_id <> '00000000-0000-0000-0000-000000000000';

-- Indexing is the second half of its document's task: the job knows the one that it continues.
ALTER TABLE jobs ADD COLUMN task_id uuid;  -- NULL: the job is a task of its own
CREATE INDEX jobs_by_task ON jobs (task_id) WHERE task_id IS NOT NULL;

CREATE FUNCTION name_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The job that moves the document on is still the one that puts this one in.
    NEW.task_id := (SELECT job_id FROM documents WHERE id = NEW.document_id AND workspace_id = NEW.workspace_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER name_task BEFORE INSERT ON jobs FOR EACH ROW WHEN (NEW.actor = 'index_document')
    EXECUTE FUNCTION name_task();

CREATE FUNCTION note_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, workspace_id, document_id, event, data)
    VALUES (NEW.id, NEW.workspace_id, NEW.document_id, coalesce(TG_ARGV[0], NEW.state), jsonb_strip_nulls(
        jsonb_build_object('attempt', NEW.attempt, 'code', NEW.failure_code, 'error', NEW.failure_message)));
    RETURN NULL;
END
$$;

CREATE TRIGGER note_queued AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.workspace_id <> '00000000-0000-0000-0000-000000000000'
          AND NEW.task_id IS NULL AND NEW.queue <> 'webhooks')
    EXECUTE FUNCTION note_job('queued');

CREATE TRIGGER note_processing AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.state = 'running' AND OLD.state <> 'running'
          AND NEW.workspace_id <> '00000000-0000-0000-0000-000000000000'
          AND NEW.task_id IS NULL AND NEW.queue <> 'webhooks')
    EXECUTE FUNCTION note_job('processing');

-- What became of a job whose worker died: retrying, failed or cancelled.
CREATE TRIGGER note_rescued AFTER UPDATE OF crash_count ON jobs FOR EACH ROW
    WHEN (NEW.crash_count > OLD.crash_count AND NEW.workspace_id <> '00000000-0000-0000-0000-000000000000')
    EXECUTE FUNCTION note_job();

CREATE FUNCTION note_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, workspace_id, document_id, event, data)
    VALUES (NEW.job_id, NEW.workspace_id, NEW.id, 'document.' || coalesce(TG_ARGV[0], NEW.state), jsonb_strip_nulls(
        jsonb_build_object('state', NEW.state, 'progress', NEW.progress, 'name', NEW.name, 'generation', NEW.generation,
                           'page_count', NEW.page_count, 'pages_done', NEW.pages_done,
                           'chunk_count', NEW.chunk_count, 'chunks_done', NEW.chunks_done,
                           'warning', NEW.warning, 'code', NEW.failure_code, 'error', NEW.failure_message)));
    RETURN NULL;
END
$$;

CREATE TRIGGER note_uploaded AFTER INSERT ON documents FOR EACH ROW EXECUTE FUNCTION note_document();

-- A new version of a document that is still `uploaded` starts over without changing its state.
CREATE TRIGGER note_state AFTER UPDATE OF state ON documents FOR EACH ROW
    WHEN (NEW.state <> OLD.state OR NEW.target_generation <> OLD.target_generation)
    EXECUTE FUNCTION note_document();

-- At most one event for each committed batch, and of those only one every twentieth of the way or after a slow batch. The
-- last step has none: the next state follows at once and says the same.
CREATE TRIGGER note_pages AFTER UPDATE OF pages_done ON documents FOR EACH ROW
    WHEN (NEW.state = OLD.state AND NEW.pages_done > OLD.pages_done AND NEW.pages_done < NEW.page_count
          AND (NEW.pages_done * 20 / greatest(NEW.page_count, 1) > OLD.pages_done * 20 / greatest(NEW.page_count, 1)
               OR NEW.updated_at > OLD.updated_at + interval '1 second'))
    EXECUTE FUNCTION note_document('progress');

CREATE TRIGGER note_chunks AFTER UPDATE OF chunks_done ON documents FOR EACH ROW
    WHEN (NEW.state = OLD.state AND NEW.chunks_done > OLD.chunks_done AND NEW.chunks_done < NEW.chunk_count
          AND (NEW.chunks_done::bigint * 20 / greatest(NEW.chunk_count, 1)
               > OLD.chunks_done::bigint * 20 / greatest(NEW.chunk_count, 1)
               OR NEW.updated_at > OLD.updated_at + interval '1 second'))
    EXECUTE FUNCTION note_document('progress');

-- What lets a browser open a socket: a word that works once, within seconds. Only its hash is kept. Not logged: after a
-- crash of the server browsers ask for another.
CREATE UNLOGGED TABLE live_tickets (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    workspace_id uuid NOT NULL,
    key_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX live_tickets_expiry ON live_tickets (expires_at);
SELECT keep_workspaces_apart('live_tickets', '');

-- What watchers read: the log, with what the ledger knows of each event's job. `goes_on`: the job has ended well, but its
-- task goes on with another one, which was put in by the same transaction.
CREATE VIEW watched_events WITH (security_invoker = true) AS
SELECT e.id, e.workspace_id, coalesce(j.task_id, e.job_id) AS task_id, e.document_id, e.event, e.data, e.at,
       j.actor, j.queue,
       e.event = 'succeeded' AND e.document_id IS NOT NULL AND j.task_id IS NULL
           AND EXISTS (SELECT FROM jobs n WHERE n.task_id = e.job_id) AS goes_on,
       e.job_id
FROM job_events e LEFT JOIN jobs j ON j.id = e.job_id
WHERE e.workspace_id <> '00000000-0000-0000-0000-000000000000' AND j.queue IS DISTINCT FROM 'webhooks'
  AND e.event NOT IN ('crashed', 'discarded');
GRANT SELECT ON watched_events TO headrace_api;
