-- name: preference
-- Return what a user wishes.
SELECT kinds, email, webhook FROM notification_preferences
WHERE workspace_id = %(workspace_id)s AND user_name = %(user)s

-- name: add_notification
-- Keep a notification, unless the user has it already.
INSERT INTO notifications (id, workspace_id, user_name, kind, title, body, about, dedup_key, webhook)
VALUES (%(id)s, %(workspace_id)s, %(user)s, %(kind)s, %(title)s, %(body)s, %(about)s, %(dedup_key)s, %(webhook)s)
ON CONFLICT (workspace_id, user_name, dedup_key) DO NOTHING

-- name: note_mail
-- Note what became of a notification's mail.
UPDATE notifications SET email = %(email)s, note = %(note)s WHERE id = %(id)s

-- name: note_notification
-- Put the news of a notification into the log, for those who watch.
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT %(job_id)s, workspace_id, 'notification.created', jsonb_build_object(
    'notification_id', id, 'user', user_name, 'kind', kind, 'title', title, 'about', about)
FROM notifications WHERE id = %(id)s

-- name: announce_notification
-- Let the workspace's webhooks tell of a notification.
SELECT announce(workspace_id, 'notification.created', jsonb_build_object(
    'notification_id', id, 'workspace_id', workspace_id, 'user', user_name, 'kind', kind, 'title', title, 'body', body,
    'about', about))
FROM notifications WHERE id = %(id)s

-- name: list_notifications
-- Return notifications of a workspace, the latest first.
SELECT id, user_name AS "user", kind, title, body, about, email, webhook, note, created_at, read_at FROM notifications
WHERE workspace_id = %(workspace_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
  AND (%(user)s::text IS NULL OR user_name = %(user)s) AND (NOT %(unread)s OR read_at IS NULL)
  AND (%(before)s::timestamptz IS NULL OR (created_at, id) < (%(before)s, %(before_id)s::uuid))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- name: read_notifications
-- Mark notifications as read: one, or all of a user.
UPDATE notifications SET read_at = now()
WHERE workspace_id = %(workspace_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
  AND (%(user)s::text IS NULL OR user_name = %(user)s) AND read_at IS NULL

-- name: list_preferences
-- Return what the users of a workspace wish.
SELECT user_name AS "user", kinds, email, webhook, updated_at FROM notification_preferences
WHERE workspace_id = %(workspace_id)s AND (%(user)s::text IS NULL OR user_name = %(user)s)
ORDER BY user_name LIMIT %(limit)s

-- name: set_preference
-- Keep what a user wishes.
INSERT INTO notification_preferences (workspace_id, user_name, kinds, email, webhook)
VALUES (%(workspace_id)s, %(user)s, %(kinds)s, %(email)s, %(webhook)s)
ON CONFLICT (workspace_id, user_name) DO UPDATE SET kinds = excluded.kinds, email = excluded.email,
    webhook = excluded.webhook, updated_at = now()

-- name: delete_preference
-- Forget what a user wished.
DELETE FROM notification_preferences WHERE workspace_id = %(workspace_id)s AND user_name = %(user)s
