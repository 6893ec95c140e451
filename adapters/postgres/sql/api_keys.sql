-- name: insert_key
-- Add a key to a workspace.
INSERT INTO api_keys (id, workspace_id, name, prefix, secret_sha256, scopes, expires_at)
VALUES (%(id)s, %(workspace_id)s, %(name)s, %(prefix)s, %(secret_sha256)s, %(scopes)s, now() + %(lifetime)s::interval)
RETURNING id, workspace_id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at

-- name: find_valid
-- Find a key that may be used now by how it begins, and whether its use is to be noted again.
SELECT id, workspace_id, scopes, secret_sha256,
       coalesce(last_used_at < now() - interval '1 minute', true) AS is_use_old
FROM api_keys WHERE prefix = %(prefix)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: note_use
-- Note that a key is in use, once a minute.
UPDATE api_keys SET last_used_at = now()
WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: list_keys
-- List the keys of a workspace (NULL: all), the oldest first.
SELECT id, workspace_id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at
FROM api_keys WHERE %(workspace_id)s::uuid IS NULL OR workspace_id = %(workspace_id)s ORDER BY created_at, id

-- name: revoke_key
-- End a key's life; what it began goes on.
UPDATE api_keys SET revoked_at = now() WHERE (id::text = lower(%(key)s) OR prefix = %(key)s) AND revoked_at IS NULL
RETURNING id, workspace_id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at

-- name: insert_workspace
-- Add a workspace.
INSERT INTO workspaces (id, name, daily_token_budget) VALUES (%(id)s, %(name)s, %(budget)s)
RETURNING id, name, daily_token_budget, created_at

-- name: list_workspaces
-- List the workspaces that people use, with their documents and the keys that work.
SELECT w.id, w.name, w.daily_token_budget, w.created_at,
       (SELECT count(*) FROM documents d WHERE d.workspace_id = w.id AND d.state <> 'deleted') AS documents,
       (SELECT count(*) FROM api_keys k WHERE k.workspace_id = w.id AND k.revoked_at IS NULL
                                          AND (k.expires_at IS NULL OR k.expires_at > now())) AS keys
FROM workspaces w WHERE w.name <> 'system' ORDER BY w.created_at, w.name
