-- name: add_mailing
-- Store a mailing beside its job.
INSERT INTO mailings (id, workspace_id, subject, text_body, html_body, variables, from_name, reply_to, unsubscribe_url,
                      attachments, rate_limit, in_doubt, total)
VALUES (%(id)s, %(workspace_id)s, %(subject)s, %(text_body)s, %(html_body)s, %(variables)s, %(from_name)s,
        %(reply_to)s, %(unsubscribe_url)s, %(attachments)s, %(rate_limit)s, %(in_doubt)s, %(total)s)

-- name: add_recipients
-- Store the recipients of a mailing in the caller's order.
INSERT INTO mail_recipients (mailing_id, number, address, name, variables)
SELECT %(mailing_id)s, r.number, r.address, r.name, r.variables
FROM jsonb_to_recordset(%(recipients)s) AS r (number integer, address text, name text, variables jsonb)

-- name: begin_mailing
-- Return a mailing as an attempt finds it.
SELECT id, workspace_id, subject, text_body, html_body, variables, from_name, reply_to, unsubscribe_url, attachments,
       rate_limit, in_doubt, total, paused_at IS NOT NULL AS is_paused
FROM mailings WHERE id = %(id)s AND workspace_id = %(workspace_id)s FOR NO KEY UPDATE

-- name: settle_doubts
-- Send again, or give up, as the mailing says, what an attempt before left between "is handed over" and "is sent". A
-- mailing that is paused asks no server, so that an outage from before does not go on.
WITH doubtful AS (
    UPDATE mail_recipients r SET
        state = CASE m.in_doubt WHEN 'send_again' THEN 'pending' ELSE 'unconfirmed' END,
        finished_at = CASE m.in_doubt WHEN 'send_again' THEN NULL ELSE now() END,
        available_at = now(), attempts = attempts + 1, error = 'A worker died while it handed this mail over.'
    FROM mailings m WHERE m.id = %(id)s AND r.mailing_id = m.id AND r.state = 'sending'
    RETURNING r.state
), counted AS (
    SELECT count(*) AS doubts, count(*) FILTER (WHERE state = 'unconfirmed') AS unconfirmed FROM doubtful
), mailing AS (
    UPDATE mailings m SET doubts = m.doubts + c.doubts, unconfirmed = m.unconfirmed + c.unconfirmed, is_woken = false,
        outage_since = CASE WHEN m.paused_at IS NULL THEN m.outage_since END
    FROM counted c WHERE m.id = %(id)s
)
SELECT doubts FROM counted

-- name: ensure_paces
-- Let every scope have a pace, and forget those that nobody has kept for days. An old one of these scopes becomes young:
-- nobody else may forget it before its next turn.
WITH forgotten AS (
    DELETE FROM mail_paces WHERE next_at < now() - interval '2 days' AND scope <> ALL(%(scopes)s)
)
INSERT INTO mail_paces AS p (scope, next_at) SELECT scope, now() FROM unnest(%(scopes)s::uuid[]) AS scope ORDER BY scope
ON CONFLICT (scope) DO UPDATE SET next_at = excluded.next_at WHERE p.next_at < now() - interval '1 day'

-- name: take_turn
-- Take the next turn of all scopes together, if it comes within the patience; say how long until then. Whoever asks at
-- the same time waits for the lock, whichever worker it is in: turns are handed out one after the other.
WITH held AS MATERIALIZED (
    SELECT scope, next_at FROM mail_paces WHERE scope = ANY(%(scopes)s) ORDER BY scope FOR UPDATE
), turn AS MATERIALIZED (
    SELECT greatest(clock_timestamp(), max(next_at)) AS at, clock_timestamp() AS asked_at FROM held
), taken AS (
    UPDATE mail_paces p SET next_at = turn.at + w.spacing
    FROM turn, unnest(%(scopes)s::uuid[], %(spacings)s::interval[]) AS w (scope, spacing)
    WHERE p.scope = w.scope AND turn.at <= turn.asked_at + %(patience)s::interval
    RETURNING p.scope
)
SELECT EXISTS (SELECT FROM taken) AS is_taken, turn.at - clock_timestamp() AS wait FROM turn

-- name: next_due
-- Return the recipient whose turn it is, and whether the workspace sends nothing there.
SELECT number, address, name, variables, attempts, EXISTS (
    SELECT FROM mail_suppressions s WHERE s.workspace_id = %(workspace_id)s AND s.address = lower(r.address)
) AS is_suppressed
FROM mail_recipients r
WHERE mailing_id = %(mailing_id)s AND state = 'pending' AND available_at <= clock_timestamp()
ORDER BY available_at, number LIMIT 1

-- name: mark_sending
-- Note that a mail is about to be handed over, unless the mailing is paused or somebody has settled the recipient.
WITH marked AS (
    UPDATE mail_recipients SET state = 'sending', lease = %(lease)s
    WHERE mailing_id = %(mailing_id)s AND number = %(number)s AND state = 'pending'
      AND EXISTS (SELECT FROM mailings WHERE id = %(mailing_id)s AND paused_at IS NULL)
    RETURNING number
)
SELECT CASE WHEN EXISTS (SELECT FROM marked) THEN 'marked' WHEN paused_at IS NOT NULL THEN 'paused' ELSE 'gone' END AS mark
FROM mailings WHERE id = %(mailing_id)s

-- name: take_back
-- Undo `mark_sending` for a mail that was not handed over.
UPDATE mail_recipients SET state = 'pending'
WHERE mailing_id = %(mailing_id)s AND number = %(number)s AND state = 'sending' AND lease = %(lease)s

-- name: hold_mail_job
-- Hold the job of a mailing, as whoever cancels or resumes it does first; say what state it is in.
SELECT state FROM jobs WHERE id = %(id)s AND queue = 'email' FOR NO KEY UPDATE

-- name: settle_recipient
-- Note what became of a mail and count it. What was handed over under this lease may be noted even after the lease is lost.
WITH recipient AS (
    UPDATE mail_recipients SET state = %(state)s, code = %(code)s, error = %(error)s,
        attempts = attempts + (%(state)s IN ('pending', 'failed'))::int,
        available_at = now() + %(wait)s,
        finished_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
    WHERE mailing_id = %(mailing_id)s AND number = %(number)s
      AND ((state = 'sending' AND lease = %(lease)s) OR (state = 'pending' AND (lease IS NULL OR lease <= %(lease)s)))
    RETURNING state
)
UPDATE mailings SET
    sent = sent + (recipient.state = 'sent')::int,
    failed = failed + (recipient.state = 'failed')::int,
    suppressed = suppressed + (recipient.state = 'suppressed')::int,
    unconfirmed = unconfirmed + (recipient.state = 'unconfirmed')::int,
    doubts = doubts + %(is_in_doubt)s::int,
    outage_since = CASE WHEN %(has_answer)s THEN NULL ELSE outage_since END
FROM recipient WHERE id = %(mailing_id)s

-- name: note_progress
-- Let watchers know how far a mailing is, at most once a percent and every two seconds; a job that gets on has no crash to
-- answer for.
WITH mailing AS (
    SELECT id, workspace_id, total, sent, failed, suppressed, unconfirmed, noted_at,
           sent + failed + suppressed + unconfirmed AS done
    FROM mailings WHERE id = %(id)s
), job AS (
    UPDATE jobs SET crash_count = 0, progress = greatest(progress, m.done * 100 / m.total)
    FROM mailing m WHERE jobs.id = m.id AND jobs.lease = %(lease)s AND jobs.state = 'running'
      AND (jobs.crash_count > 0 OR jobs.progress IS DISTINCT FROM greatest(jobs.progress, m.done * 100 / m.total))
), noted AS (
    UPDATE mailings SET noted_at = now() FROM mailing m
    WHERE mailings.id = m.id AND (m.noted_at < now() - interval '2 seconds' OR m.done = m.total)
    RETURNING m.id, m.workspace_id, m.done, m.total, m.sent, m.failed, m.suppressed, m.unconfirmed
)
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT id, workspace_id, 'progress', jsonb_build_object('done', done, 'total', total, 'sent', sent, 'failed', failed,
                                                       'suppressed', suppressed, 'unconfirmed', unconfirmed)
FROM noted

-- name: note_outage
-- Note that the mail server is away; return for how long it has been.
UPDATE mailings SET outage_since = coalesce(outage_since, now()) WHERE id = %(id)s
RETURNING now() - outage_since AS away

-- name: forget_outage
-- Let a mailing that is given up wait anew for the server once it is retried.
UPDATE mailings SET outage_since = NULL WHERE id = %(id)s

-- name: standing
-- Tell how far a mailing is, and when the next recipient is due.
SELECT m.total, m.sent, m.failed, m.suppressed, m.unconfirmed,
       (SELECT count(*) FROM mail_recipients r WHERE r.mailing_id = m.id AND r.state = 'pending') AS waiting,
       coalesce((SELECT min(r.available_at) FROM mail_recipients r WHERE r.mailing_id = m.id AND r.state = 'pending')
                - clock_timestamp(), interval '0') AS next_in,
       CASE WHEN m.sent = 0 THEN (SELECT r.error FROM mail_recipients r
                                  WHERE r.mailing_id = m.id AND r.state = 'failed' ORDER BY r.number DESC LIMIT 1) END
           AS last_error
FROM mailings m WHERE m.id = %(id)s

-- name: read_mailing
-- Return a mailing of a workspace and how far it is.
SELECT m.id AS task_id, j.actor AS kind, t.status, m.subject, m.total, m.sent, m.failed, m.suppressed, m.unconfirmed,
       m.doubts, m.sent + m.failed + m.suppressed + m.unconfirmed AS done, m.rate_limit, m.in_doubt, m.paused_at,
       m.outage_since, m.created_at, j.finished_at
FROM mailings m JOIN jobs j ON j.id = m.id JOIN tasks t ON t.id = m.id
WHERE m.id = %(id)s AND m.workspace_id = %(workspace_id)s

-- name: list_recipients
-- List recipients of a mailing of a workspace in the caller's order, from one number on.
SELECT r.number, r.address, r.name, r.state, r.attempts, r.code, r.error, r.finished_at,
       CASE WHEN r.state = 'pending' THEN r.available_at END AS next_attempt_at
FROM mail_recipients r JOIN mailings m ON m.id = r.mailing_id
WHERE m.id = %(id)s AND m.workspace_id = %(workspace_id)s AND r.number > %(after)s
  AND (%(state)s::text IS NULL OR r.state = %(state)s)
ORDER BY r.number LIMIT %(limit)s

-- name: pause_mailing
-- Let a mailing send nothing more until it is resumed.
UPDATE mailings SET paused_at = coalesce(paused_at, now()) WHERE id = %(id)s AND workspace_id = %(workspace_id)s

-- name: resume_mailing
-- Let a mailing go on; an attempt that is on its way to wait is told not to.
UPDATE mailings SET paused_at = NULL, is_woken = %(is_running)s
WHERE id = %(id)s AND workspace_id = %(workspace_id)s AND paused_at IS NOT NULL

-- name: wake_mail_job
-- Let the job of a mailing come at once that waits.
WITH job AS (
    UPDATE jobs SET available_at = now() WHERE id = %(id)s AND state = 'retrying' AND available_at > now() RETURNING queue
)
SELECT pg_notify('headrace_jobs', queue) FROM job

-- name: suppress
-- Send nothing more to an address of a workspace.
INSERT INTO mail_suppressions (workspace_id, address, reason) VALUES (%(workspace_id)s, lower(%(address)s), %(reason)s)
ON CONFLICT (workspace_id, address) DO UPDATE SET reason = excluded.reason

-- name: unsuppress
-- Let mail go to an address of a workspace again.
DELETE FROM mail_suppressions WHERE workspace_id = %(workspace_id)s AND address = lower(%(address)s)

-- name: list_suppressions
-- List the addresses that a workspace sends nothing to, in alphabetical order.
SELECT address, reason, created_at FROM mail_suppressions
WHERE workspace_id = %(workspace_id)s AND address > %(after)s ORDER BY address LIMIT %(limit)s
