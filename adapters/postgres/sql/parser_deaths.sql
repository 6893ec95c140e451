-- name: find
-- Return how often a content killed this parser version, and how it did the last time.
SELECT deaths, code, message FROM parser_deaths
WHERE content_sha256 = %(content_sha256)s AND parser_version = %(parser_version)s

-- name: record
-- Count one more death.
INSERT INTO parser_deaths AS d (content_sha256, parser_version, code, message)
VALUES (%(content_sha256)s, %(parser_version)s, %(code)s, %(message)s)
ON CONFLICT (content_sha256, parser_version) DO UPDATE
SET deaths = d.deaths + 1, code = excluded.code, message = excluded.message, last_at = now()
RETURNING deaths
