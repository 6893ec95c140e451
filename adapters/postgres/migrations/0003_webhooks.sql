-- Webhooks: who wants to be told of what, and what is to be told. A delivery and the job that carries it out come into
-- being in the transaction of the change they tell of: none is lost, none is invented.

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    url text NOT NULL CHECK (length(url) <= 2048),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 200),
    events text[] NOT NULL CHECK (
        cardinality(events) > 0
        AND events <@ ARRAY['document.ready', 'document.failed', 'task.completed', 'task.failed']),
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,                    -- NULL: enabled
    disabled_reason text,
    failures integer NOT NULL DEFAULT 0,        -- attempts since the last one that was answered well
    failing_since timestamptz,
    paused_until timestamptz,                   -- an endpoint that fails is left alone for a while
    delivered_at timestamptz,
    max_pending integer NOT NULL DEFAULT 10000, -- deliveries that may wait; what comes on top is kept as discarded
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL))
);
CREATE INDEX webhook_endpoints_by_workspace ON webhook_endpoints (workspace_id);

-- Signing needs the secret itself, so no hash will do. It has a table of its own, which no list ever reads.
CREATE TABLE webhook_secrets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    secret bytea NOT NULL CHECK (length(secret) BETWEEN 24 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz                      -- NULL: the current one
);
CREATE INDEX webhook_secrets_by_endpoint ON webhook_secrets (endpoint_id);

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    event_id uuid NOT NULL,                     -- the webhook-id: the same for every endpoint, attempt and replay
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    workspace_id uuid NOT NULL,
    event text NOT NULL,
    data jsonb NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'discarded')),
    job_id uuid,                                -- the only job that may carry it out
    attempts integer NOT NULL DEFAULT 0,
    status integer,                             -- of the last HTTP answer
    error text,
    attempted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (event_id, endpoint_id),
    CHECK ((finished_at IS NULL) = (state = 'pending'))
) WITH (fillfactor = 80);
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_by_workspace ON webhook_deliveries (workspace_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (endpoint_id, created_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_by_job ON webhook_deliveries (job_id);
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (finished_at) WHERE state = 'delivered';
CREATE INDEX webhook_deliveries_undelivered ON webhook_deliveries (finished_at) WHERE state IN ('failed', 'discarded');

-- The API manages endpoints and cannot read a secret, not even its own workspace's.
SELECT keep_workspaces_apart('webhook_endpoints', 'SELECT, INSERT, UPDATE, DELETE');
SELECT keep_workspaces_apart('webhook_deliveries', 'SELECT, UPDATE');
SELECT keep_workspaces_apart('webhook_secrets',
    'SELECT (id, endpoint_id, created_at, expires_at), INSERT, UPDATE (expires_at), DELETE',
    'EXISTS (SELECT FROM webhook_endpoints e WHERE e.id = endpoint_id AND e.workspace_id = current_workspace())');

-- Put the job of a delivery into the ledger and ring; return its id. The message is what `deliver_webhook.send` writes.
CREATE FUNCTION enqueue_webhook(delivery uuid, workspace uuid) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    job uuid := gen_random_uuid();
BEGIN
    INSERT INTO jobs (id, queue, actor, workspace_id, message)
    VALUES (job, 'webhooks', 'deliver_webhook', workspace, jsonb_build_object(
        'queue_name', 'webhooks', 'actor_name', 'deliver_webhook', 'args', '[]'::jsonb,
        'kwargs', jsonb_build_object('delivery_id', delivery, 'workspace_id', workspace), 'options', '{}'::jsonb,
        'message_id', job, 'message_timestamp', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint));
    PERFORM pg_notify('headrace_jobs', 'webhooks');
    RETURN job;
END $$;

-- Note a delivery for every enabled endpoint of the workspace that wants to hear of the event.
CREATE FUNCTION announce(workspace uuid, happened text, details jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    told record;
    is_full boolean;
    event_id uuid := gen_random_uuid();
    delivery_id uuid;
BEGIN
    FOR told IN
        SELECT id, max_pending FROM webhook_endpoints
        WHERE workspace_id = workspace AND disabled_at IS NULL AND happened = ANY (events)
    LOOP
        is_full := EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = told.id AND state = 'pending'
                           OFFSET told.max_pending - 1);
        delivery_id := gen_random_uuid();
        INSERT INTO webhook_deliveries
            (id, event_id, endpoint_id, workspace_id, event, data, state, finished_at, error, job_id)
        VALUES (delivery_id, event_id, told.id, workspace, happened, details,
                CASE WHEN is_full THEN 'discarded' ELSE 'pending' END, CASE WHEN is_full THEN now() END,
                CASE WHEN is_full THEN 'Too many deliveries were waiting for this endpoint.' END,
                CASE WHEN NOT is_full THEN enqueue_webhook(delivery_id, workspace) END);
    END LOOP;
END $$;

CREATE FUNCTION announce_document() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM webhook_endpoints WHERE workspace_id = NEW.workspace_id) THEN
        PERFORM announce(NEW.workspace_id, 'document.' || NEW.state, jsonb_strip_nulls(jsonb_build_object(
            'document_id', NEW.id, 'workspace_id', NEW.workspace_id, 'state', NEW.state,
            'generation', CASE WHEN NEW.state = 'ready' THEN NEW.generation END,
            'failure_code', NEW.failure_code)));
    END IF;
    RETURN NULL;
END $$;

-- A task is what the view `tasks` shows: a job, except that indexing is the second half of its document's task, which
-- extraction began.
CREATE FUNCTION announce_job() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    status text := CASE NEW.state WHEN 'succeeded' THEN 'completed' ELSE 'failed' END;
    task uuid := NEW.id;
BEGIN
    IF NOT EXISTS (SELECT FROM webhook_endpoints WHERE workspace_id = NEW.workspace_id) THEN
        RETURN NULL;
    END IF;
    IF NEW.actor = 'extract_document' AND NEW.state = 'succeeded' AND EXISTS (
        SELECT FROM jobs WHERE document_id = NEW.document_id AND actor = 'index_document' AND created_at >= NEW.created_at
    ) THEN
        RETURN NULL;
    END IF;
    IF NEW.actor = 'index_document' THEN
        SELECT id INTO task FROM jobs
        WHERE document_id = NEW.document_id AND actor = 'extract_document' AND created_at <= NEW.created_at
        ORDER BY created_at DESC LIMIT 1;
    END IF;
    PERFORM announce(NEW.workspace_id, 'task.' || status, jsonb_strip_nulls(jsonb_build_object(
        'task_id', coalesce(task, NEW.id), 'workspace_id', NEW.workspace_id, 'document_id', NEW.document_id,
        'actor', NEW.actor, 'status', status, 'failure_code', NEW.failure_code)));
    RETURN NULL;
END $$;

-- A job of ours that ends badly takes its delivery along, whatever ended it: retries, a crash, a person.
CREATE FUNCTION close_webhook_delivery() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE webhook_deliveries SET state = 'failed', finished_at = now(),
        error = coalesce(error, NEW.failure_message, 'The job of this delivery was cancelled.')
    WHERE job_id = NEW.id AND state = 'pending';
    RETURN NULL;
END $$;

-- They act with the rights of the schema's owner: whoever may change a document or a job may set them off. Nobody's
-- temporary table can take the place of one of ours.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['announce_document', 'announce_job', 'close_webhook_delivery'] LOOP
        EXECUTE format('ALTER FUNCTION %I() SECURITY DEFINER SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END $$;

-- A trigger's WHEN costs a comparison of the row in memory; only what passes it calls the function.
CREATE TRIGGER announce AFTER UPDATE OF state ON documents FOR EACH ROW
WHEN (NEW.state IN ('ready', 'failed') AND OLD.state <> NEW.state)
EXECUTE FUNCTION announce_document();

-- What the system workspace does for itself, and telling itself, is no news.
CREATE TRIGGER announce AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (NEW.state IN ('succeeded', 'failed') AND OLD.state <> NEW.state AND NEW.queue <> 'webhooks'
      AND NEW.workspace_id <> '00000000-0000-0000-0000-000000000000')
EXECUTE FUNCTION announce_job();

CREATE TRIGGER close_webhook_delivery AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (NEW.state IN ('failed', 'cancelled') AND OLD.state <> NEW.state AND NEW.queue = 'webhooks')
EXECUTE FUNCTION close_webhook_delivery();
