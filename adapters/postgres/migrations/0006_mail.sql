-- Mail: mailings, who gets one, who wants none, and the pace at which they leave. A mailing's id is its job's id.

CREATE TABLE mailings (
    id uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,  -- history is pruned with the job
    workspace_id uuid NOT NULL REFERENCES workspaces,
    subject text NOT NULL,                      -- templates; a mailing keeps its own, whatever becomes of the caller's
    text_body text,
    html_body text,
    variables jsonb NOT NULL DEFAULT '{}',      -- of all recipients; their own win
    from_name text NOT NULL DEFAULT '',
    reply_to text,
    unsubscribe_url text,                       -- a template
    attachments jsonb NOT NULL DEFAULT '[]',
    rate_limit integer CHECK (rate_limit > 0),  -- mails per minute; NULL: no limit of its own
    in_doubt text NOT NULL CHECK (in_doubt IN ('send_again', 'give_up')),
    total integer NOT NULL CHECK (total > 0),
    sent integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    suppressed integer NOT NULL DEFAULT 0,
    unconfirmed integer NOT NULL DEFAULT 0,     -- perhaps sent, not tried again
    doubts integer NOT NULL DEFAULT 0,          -- how often nobody could tell whether a mail had been taken
    noted_at timestamptz NOT NULL DEFAULT now(),  -- when watchers were last told of progress
    paused_at timestamptz,
    is_woken boolean NOT NULL DEFAULT false,    -- resumed while an attempt was on its way to wait
    outage_since timestamptz,                   -- NULL: the mail server answers
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (text_body IS NOT NULL OR html_body IS NOT NULL),
    CHECK (sent + failed + suppressed + unconfirmed <= total)
) WITH (fillfactor = 50);

-- One row per recipient. `sending` is committed before the mail is handed over, and what follows right after: a row that
-- is found in `sending` by a later attempt may or may not have been sent. A mailing has at most one of them.
CREATE TABLE mail_recipients (
    mailing_id uuid NOT NULL REFERENCES mailings ON DELETE CASCADE,
    number integer NOT NULL,                    -- from 1, in the caller's order
    address text NOT NULL CHECK (length(address) <= 254),
    name text NOT NULL DEFAULT '',
    variables jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'suppressed', 'unconfirmed')),
    lease bigint,                               -- of the attempt that last handed it over
    attempts integer NOT NULL DEFAULT 0,        -- refusals and doubts so far
    available_at timestamptz NOT NULL DEFAULT now(),
    code integer,                               -- the server's last answer
    error text,
    finished_at timestamptz,
    PRIMARY KEY (mailing_id, number),
    CHECK ((finished_at IS NULL) = (state IN ('pending', 'sending')))
) WITH (fillfactor = 80);
-- The same mailbox twice is one mail. Domains have no case; mailboxes that differ in case alone are one in practice.
CREATE UNIQUE INDEX mail_recipients_once ON mail_recipients (mailing_id, lower(address));
CREATE INDEX mail_recipients_waiting ON mail_recipients (mailing_id, available_at, number) WHERE state = 'pending';
CREATE UNIQUE INDEX mail_recipients_one_sending ON mail_recipients (mailing_id) WHERE state = 'sending';

-- Addresses that a workspace sends nothing to.
CREATE TABLE mail_suppressions (
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    address text NOT NULL CHECK (address = lower(address) AND length(address) <= 254),
    reason text NOT NULL CHECK (length(reason) <= 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, address)
);

-- When the next mail may leave: of one mailing, or under the nil UUID of the whole deployment.
CREATE TABLE mail_paces (
    scope uuid PRIMARY KEY,
    next_at timestamptz NOT NULL
);

SELECT keep_workspaces_apart('mailings', 'SELECT, INSERT, UPDATE (paused_at, is_woken)');
SELECT keep_workspaces_apart('mail_recipients', 'SELECT, INSERT',
    'EXISTS (SELECT FROM mailings m WHERE m.id = mailing_id AND m.workspace_id = current_workspace())');
SELECT keep_workspaces_apart('mail_suppressions', 'SELECT, INSERT, UPDATE, DELETE');
SELECT keep_workspaces_apart('mail_paces', '', 'false');

-- A mailing that is resumed while its attempt is about to wait, for it was paused, does not wait.
CREATE FUNCTION wake_mailing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE mailings SET is_woken = false WHERE id = NEW.id AND is_woken;
    IF FOUND THEN
        NEW.available_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wake_mailing BEFORE UPDATE OF state ON jobs FOR EACH ROW
WHEN (NEW.state = 'retrying' AND OLD.state = 'running' AND NEW.queue = 'email')
EXECUTE FUNCTION wake_mailing();
