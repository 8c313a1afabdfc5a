-- Images of the present cycle that somebody else's transaction kept from being queued: a reprocess that left some out has
-- not been through the table.
ALTER TABLE {sweep} ADD COLUMN IF NOT EXISTS cycle_left_out bigint NOT NULL DEFAULT 0;
