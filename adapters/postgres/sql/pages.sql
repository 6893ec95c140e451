-- name: copy
-- Stream pages in.
COPY document_pages (document_id, generation, number, text, lost, characters) FROM STDIN (FORMAT BINARY)

-- name: summarise
-- Sum up what was read: pages, characters that are not white space, blank pages, and the numbers of the lost pages.
SELECT count(*) AS pages, coalesce(sum(characters), 0)::bigint AS characters,
       count(*) FILTER (WHERE characters = 0) AS blank,
       coalesce(array_agg(number ORDER BY number) FILTER (WHERE lost), '{}') AS lost
FROM document_pages WHERE document_id = %(document_id)s AND generation = %(generation)s

-- name: read
-- Return a bounded run of pages, in order.
SELECT number, text, lost FROM document_pages
WHERE document_id = %(document_id)s AND generation = %(generation)s AND number > %(after)s
ORDER BY number LIMIT %(limit)s

-- name: delete_others
-- Remove the pages of every generation but one.
DELETE FROM document_pages WHERE document_id = %(document_id)s AND generation <> %(generation)s
