-- name: disown
-- Note a blob that no document owns (yet, or any more); the sweeper deletes it after the given time.
INSERT INTO unowned_blobs (key, delete_after) VALUES (%(key)s, now() + %(after)s)
ON CONFLICT (key) DO UPDATE SET delete_after = excluded.delete_after

-- name: own
-- Strike a blob out: a document owns it from here on.
DELETE FROM unowned_blobs WHERE key = %(key)s

-- name: find_due
-- List unowned blobs whose time is over.
SELECT key FROM unowned_blobs WHERE delete_after <= now() ORDER BY delete_after LIMIT %(limit)s
