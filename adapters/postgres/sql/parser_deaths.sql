-- name: find
-- Return how often a content killed this parser version, and how it did the last time.
SELECT deaths, code, message FROM parser_deaths
WHERE content_sha256 = %(content_sha256)s AND parser_version = %(parser_version)s

-- name: record
-- Count one more death. A single one of over an hour ago does not count: the file was tried again within seconds, and read.
INSERT INTO parser_deaths AS d (content_sha256, parser_version, code, message)
VALUES (%(content_sha256)s, %(parser_version)s, %(code)s, %(message)s)
ON CONFLICT (content_sha256, parser_version) DO UPDATE
SET deaths = CASE WHEN d.deaths = 1 AND d.last_at < now() - interval '1 hour' THEN 1 ELSE d.deaths + 1 END,
    code = excluded.code, message = excluded.message, last_at = now()
RETURNING deaths
