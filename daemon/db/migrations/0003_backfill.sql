-- Backfills: all images worked on by a cluster, shard by shard (daemon/backfill).

-- The ranges of ids that a backfill is done in. A range is known by its last id; it begins after the one before it.
CREATE TABLE IF NOT EXISTS {shard} (
    -- What the vectors bear. Another model, or a raised generation, has shards of its own.
    signature    text NOT NULL,
    number       bigint NOT NULL,
    after_id     {id_type},
    upto_id      {id_type} NOT NULL,
    -- Images at the time of planning, and what came of them.
    images       bigint NOT NULL,
    stored       bigint NOT NULL DEFAULT 0,
    dead         bigint NOT NULL DEFAULT 0,
    retried      bigint NOT NULL DEFAULT 0,
    finished_at  timestamptz,
    PRIMARY KEY (signature, number)
);
CREATE INDEX IF NOT EXISTS shard_open ON {shard} (signature, number) WHERE finished_at IS NULL;

-- The ranges that are being worked on just now: the sweep leaves them out until then. Whoever works renews it.
CREATE TABLE IF NOT EXISTS {backfill} (
    worker    text PRIMARY KEY,
    after_id  {id_type},
    upto_id   {id_type} NOT NULL,
    until     timestamptz NOT NULL
);
