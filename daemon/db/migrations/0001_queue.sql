-- vectord's own tables. {id_type} is the type of the source table's id.

CREATE TABLE IF NOT EXISTS {setting} (
    key         text PRIMARY KEY,
    value       text NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS {job} (
    image_id     {id_type} PRIMARY KEY,
    revision     bigint NOT NULL DEFAULT 1,
    -- 'pending' or 'dead'. No CHECK: it is an eighth of what the trigger costs the users' INSERT.
    state        text NOT NULL DEFAULT 'pending',
    -- 0: an image that someone just wrote. 1: found by the sweep. Lower is sooner.
    priority     smallint NOT NULL DEFAULT 0,
    attempts     integer NOT NULL DEFAULT 0,
    not_before   timestamptz NOT NULL DEFAULT now(),
    -- Both are null unless a daemon works on it. A lease that ran out is simply due again.
    lease_token  uuid,
    lease_until  timestamptz,
    worker       text,
    -- A loader died over it: it is loaded alone from then on.
    suspect      boolean NOT NULL DEFAULT false,
    reason       text,
    last_error   text,
    enqueued_at  timestamptz NOT NULL DEFAULT now(),
    failed_at    timestamptz
) WITH (
    -- A queue is rewritten all the time: room for HOT updates, and a vacuum that comes early and does not dawdle.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 500,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

-- What the claim walks: by priority, then by when it is due, be it for the first time, again, or because its lease ends.
CREATE INDEX IF NOT EXISTS job_due ON {job} (priority, coalesce(lease_until, not_before), image_id) WHERE state = 'pending';

-- What `failures` counts.
CREATE INDEX IF NOT EXISTS job_dead ON {job} (reason, failed_at DESC) WHERE state = 'dead';

-- The bell on the daemons' door, in seconds of the epoch: until when they want to be called by NOTIFY, when that is to
-- come; otherwise, negative, when they were last called unasked. NOTIFY makes commits queue up behind one lock, so a
-- daemon that is busy anyway takes the bell off: 0. A sequence, because it is read and set outside all transactions.
CREATE SEQUENCE IF NOT EXISTS {bell} MINVALUE -9223372036854775808 START 0;

CREATE TABLE IF NOT EXISTS {worker} (
    worker      text PRIMARY KEY,
    host        text NOT NULL,
    pid         integer NOT NULL,
    signature   text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);

-- One row: where the sweep's window is.
CREATE TABLE IF NOT EXISTS {sweep} (
    singleton         boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    cursor_id         {id_type},
    highest_id        {id_type},
    cycle             bigint NOT NULL DEFAULT 0,
    cycle_started_at  timestamptz,
    cycle_ended_at    timestamptz,
    cycle_looked      bigint NOT NULL DEFAULT 0,
    cycle_found       bigint NOT NULL DEFAULT 0,
    ticked_at         timestamptz
);
INSERT INTO {sweep} DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Every time that all was to be made anew, the first time included. The highest generation is the present one; the last
-- row is the one that runs, or ran last.
CREATE TABLE IF NOT EXISTS {reprocess} (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation  integer NOT NULL,
    cause       text NOT NULL,
    -- Someone asked for it: vectors of other programs are replaced too, and dead jobs get another chance.
    forced      boolean NOT NULL,
    -- `reprocess.on_start` as a tag: one row for each tag, ever.
    tag         text UNIQUE,
    started_at  timestamptz NOT NULL DEFAULT now(),
    -- When the sweep had been once through the whole table, and when the last job that it made was done.
    walked_at   timestamptz,
    ended_at    timestamptz
);
