-- Whoever tells of a change waits for an endpoint that is being deleted, and passes it by. Without the lock the foreign key
-- of the delivery would wait, and then fail the change with every other of the same statement.

-- Note a delivery for every enabled endpoint of the workspace that wants to hear of the event.
CREATE OR REPLACE FUNCTION announce(workspace uuid, happened text, details jsonb) RETURNS void
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
        ORDER BY id FOR KEY SHARE
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
