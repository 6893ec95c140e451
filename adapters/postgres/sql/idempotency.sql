-- name: begin
-- Take a key for a request: nobody has it, its request died without an answer, or its time is over.
INSERT INTO idempotency_keys AS k (workspace_id, operation, key, owner, busy_until)
VALUES (%(workspace_id)s, %(operation)s, %(key)s, %(owner)s, now() + %(patience)s)
ON CONFLICT (workspace_id, operation, key) DO UPDATE
SET owner = excluded.owner, busy_until = excluded.busy_until, created_at = now(),
    fingerprint = NULL, status = NULL, headers = NULL, body = NULL
WHERE (k.status IS NULL AND k.busy_until < now()) OR k.created_at < now() - %(lifetime)s::interval
RETURNING owner

-- name: read_answer
-- Return the answer that a key has, if it has one.
SELECT fingerprint, status, headers, body FROM idempotency_keys
WHERE workspace_id = %(workspace_id)s AND operation = %(operation)s AND key = %(key)s

-- name: remember
-- Keep the answer, in the transaction that makes it true. No row: the request took so long that it lost its key.
UPDATE idempotency_keys
SET fingerprint = %(fingerprint)s, status = %(status)s, headers = %(headers)s, body = %(body)s
WHERE workspace_id = %(workspace_id)s AND operation = %(operation)s AND key = %(key)s AND owner = %(owner)s
  AND status IS NULL

-- name: release
-- Give a key back whose request changed nothing.
DELETE FROM idempotency_keys
WHERE workspace_id = %(workspace_id)s AND operation = %(operation)s AND key = %(key)s AND owner = %(owner)s
  AND status IS NULL

-- name: forget_old
-- Remove a few keys of the workspace whose time is over.
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys
    WHERE workspace_id = %(workspace_id)s AND created_at < now() - %(lifetime)s::interval
    ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED))
