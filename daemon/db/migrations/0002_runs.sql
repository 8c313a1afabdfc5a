-- Runs: somebody asked for all images, or so many of them, to be worked on, and wants to know what came of it.

CREATE TABLE IF NOT EXISTS {run} (
    run_id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asked_at        timestamptz NOT NULL DEFAULT now(),
    -- As many images at most; null: all.
    most            bigint,
    -- Images that have a vector are passed over, and then count (false) or do not (true).
    skip_processed  boolean NOT NULL,
    -- Images that have a vector get a new one.
    forced          boolean NOT NULL,
    cursor_id       {id_type},
    -- Images put into the queue, and what became of them.
    taken           bigint NOT NULL DEFAULT 0,
    success         bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    skipped         bigint NOT NULL DEFAULT 0,
    -- The first of them.
    failed_ids      text[] NOT NULL DEFAULT '{{}}',
    walked_at       timestamptz,
    ended_at        timestamptz
);
CREATE INDEX IF NOT EXISTS run_open ON {run} (asked_at) WHERE ended_at IS NULL;

-- The images of a run that are not done yet: never more than the queue may hold.
CREATE TABLE IF NOT EXISTS {run_image} (
    run_id    uuid NOT NULL REFERENCES {run} ON DELETE CASCADE,
    image_id  {id_type} NOT NULL,
    PRIMARY KEY (run_id, image_id)
);
