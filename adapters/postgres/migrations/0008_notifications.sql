-- Notifications: what people of a workspace should know, once each, in the product and where else they wish.

-- Who wants to hear of what, and where. Users are the product's own; whoever is not here hears of nothing by itself.
CREATE TABLE notification_preferences (
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    user_name text NOT NULL CHECK (length(user_name) BETWEEN 1 AND 100),
    kinds text[] NOT NULL,                      -- empty: all
    email text CHECK (length(email) <= 254),    -- NULL: none is sent
    webhook boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, user_name)
);

CREATE TABLE notifications (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    user_name text NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    about text NOT NULL,                        -- such as document:<id>; '': nothing in particular
    dedup_key text NOT NULL,
    email text NOT NULL DEFAULT 'off' CHECK (email IN ('off', 'queued', 'unavailable')),
    webhook text NOT NULL DEFAULT 'off' CHECK (webhook IN ('off', 'queued')),
    note text,                                  -- why a way to the user was not taken
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at timestamptz,
    UNIQUE (workspace_id, user_name, dedup_key)
);
CREATE INDEX notifications_by_user ON notifications (workspace_id, user_name, created_at DESC, id DESC);
CREATE INDEX notifications_unread ON notifications (workspace_id, user_name) WHERE read_at IS NULL;
CREATE INDEX notifications_by_subject ON notifications (workspace_id, about) WHERE about <> '';
CREATE INDEX notifications_age ON notifications (created_at);

SELECT keep_workspaces_apart('notification_preferences', 'SELECT, INSERT, UPDATE, DELETE');
SELECT keep_workspaces_apart('notifications', 'SELECT, UPDATE');

ALTER TABLE webhook_endpoints DROP CONSTRAINT webhook_endpoints_events_check;
ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_events_check CHECK (
    cardinality(events) > 0
    AND events <@ ARRAY['document.ready', 'document.failed', 'task.completed', 'task.failed', 'notification.created']);

-- Put in a job that tells every user who wishes to hear of it. The message is what `user_notification.send` writes.
CREATE FUNCTION notify_of_document() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told record;
    job uuid;
    kind text := 'document.' || NEW.state;
BEGIN
    FOR told IN
        SELECT user_name FROM notification_preferences
        WHERE workspace_id = NEW.workspace_id AND (cardinality(kinds) = 0 OR kind = ANY (kinds))
    LOOP
        job := gen_random_uuid();
        INSERT INTO jobs (id, queue, actor, workspace_id, message)
        VALUES (job, 'notifications', 'user_notification', NEW.workspace_id, jsonb_build_object(
            'queue_name', 'notifications', 'actor_name', 'user_notification', 'args', '[]'::jsonb,
            'kwargs', jsonb_build_object(
                'workspace_id', NEW.workspace_id, 'user', told.user_name, 'kind', kind,
                'title', left(NEW.name, 200) || CASE NEW.state WHEN 'ready' THEN ' is ready' ELSE ' has failed' END,
                'body', coalesce(left(NEW.failure_message, 2000), ''),
                'about', 'document:' || NEW.id,
                'dedup_key', format('document:%s:%s:%s', NEW.id, NEW.target_generation, NEW.state)),
            'options', '{}'::jsonb, 'message_id', job,
            'message_timestamp', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint));
        PERFORM pg_notify('headrace_jobs', 'notifications');
    END LOOP;
    RETURN NULL;
END $$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION notify_of_document() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;
CREATE TRIGGER notify AFTER UPDATE OF state ON documents FOR EACH ROW
WHEN (NEW.state IN ('ready', 'failed') AND OLD.state <> NEW.state)
EXECUTE FUNCTION notify_of_document();

-- To notify somebody is no news of a task: the notification itself is.
DROP TRIGGER announce ON jobs;
CREATE TRIGGER announce AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (NEW.state IN ('succeeded', 'failed') AND OLD.state <> NEW.state AND NEW.queue NOT IN ('webhooks', 'notifications')
      AND NEW.workspace_id <> '00000000-0000-0000-0000-000000000000')
EXECUTE FUNCTION announce_job();
