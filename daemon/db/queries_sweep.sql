-- The sweep: one tick is one short transaction whose cost does not depend on the size of any table.

-- name: begin
-- One sweeper at a time; the lock ends with the transaction, so it works behind PgBouncer too.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(lock)s, 0)),
       {by_index}

-- name: hurry
{hurry}

-- name: position
SELECT cursor_id, highest_id, cycle, cycle_looked, cycle_found, cycle_left_out FROM {sweep} FOR UPDATE

-- name: targets
-- The model that counts, the generation, since when a forced reprocess walks, whether one is not over, and whether a run
-- has more to queue.
SELECT (SELECT value FROM {setting} WHERE key = 'model'),
       coalesce((SELECT generation FROM {reprocess} ORDER BY id DESC LIMIT 1), 0),
       (SELECT max(started_at) FROM {reprocess} WHERE forced AND walked_at IS NULL),
       EXISTS (SELECT FROM {reprocess} WHERE ended_at IS NULL),
       EXISTS (SELECT FROM {run} WHERE ended_at IS NULL AND walked_at IS NULL)

-- name: depth
{depth}

-- name: highest
SELECT s.{source_id} FROM {source} s WHERE s.{source_id} IS NOT NULL ORDER BY s.{source_id} DESC LIMIT 1

-- name: find
-- Looks at the next ids by primary key: how many, the last of them, the first of those that nothing is known of, and
-- whether others of these lie in a range that a backfill works on: a handful of ranges at most, mostly none.
WITH looked AS MATERIALIZED (
    SELECT s.{source_id} AS id FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s)
    ORDER BY s.{source_id} LIMIT %(window)s
), missing AS (
    SELECT looked.id FROM looked {nothing_known} AND NOT EXISTS (SELECT FROM {backfill} b WHERE {holds})
    ORDER BY looked.id LIMIT %(room)s
)
SELECT (SELECT count(*) FROM looked), (SELECT id FROM looked ORDER BY id DESC LIMIT 1), ARRAY(SELECT id FROM missing),
       EXISTS (SELECT FROM {backfill} b JOIN looked ON {holds} {nothing_known})

-- name: queue
-- A trigger or another session may have made the job meanwhile; it then stays as it is, unless it is one of the dead that
-- `nothing_known` does not count.
INSERT INTO {job} AS j (image_id, priority) SELECT id, %(priority)s FROM unnest(%(ids)s) AS id
ON CONFLICT (image_id) DO UPDATE
SET state = 'pending', priority = EXCLUDED.priority, attempts = 0, not_before = now(), suspect = false,
    reason = NULL, last_error = NULL, failed_at = NULL, enqueued_at = now()
WHERE j.state = 'dead' AND (j.reason = 'empty_location' OR j.failed_at < %(forced_since)s::timestamptz)

-- name: forget
-- Jobs in the part just walked whose image is gone, where no trigger saw it go. Only as they were seen: whoever
-- writes the image again meanwhile raises the job's revision.
WITH gone AS MATERIALIZED (
    SELECT j.image_id, j.revision FROM {job} j
    LEFT JOIN LATERAL (SELECT true AS there FROM {source} s WHERE s.{source_id} = j.image_id LIMIT 1) image ON true
    WHERE (%(after)s IS NULL OR j.image_id > %(after)s) AND (%(upto)s IS NULL OR j.image_id <= %(upto)s)
      AND image.there IS NULL
    ORDER BY j.image_id LIMIT %(window)s
), locked AS MATERIALIZED (
    SELECT j.image_id FROM gone JOIN {job} j ON j.image_id = gone.image_id AND j.revision = gone.revision
    FOR UPDATE OF j SKIP LOCKED
)
DELETE FROM {job} j USING locked WHERE j.image_id = locked.image_id

-- name: save
UPDATE {sweep} SET cursor_id = %(cursor)s, highest_id = %(highest)s, cycle = %(cycle)s, ticked_at = now(),
    cycle_looked = %(looked)s, cycle_found = %(found)s, cycle_left_out = %(left_out)s,
    cycle_started_at = CASE WHEN %(began)s THEN now() ELSE cycle_started_at END,
    cycle_ended_at = CASE WHEN %(ended)s THEN now() ELSE cycle_ended_at END

-- name: walked
UPDATE {reprocess} SET walked_at = now() WHERE walked_at IS NULL

-- name: finish
-- A reprocess is over when it walked the table and nothing of what it queued can be worked on. What waits for a host
-- that is down would keep it open for days.
UPDATE {reprocess} SET ended_at = now()
WHERE ended_at IS NULL AND walked_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM {job} WHERE state = 'pending' AND priority = %(backfill)s AND (lease_token IS NOT NULL OR not_before <= now())
)

-- name: notify
SELECT pg_notify(%(channel)s, '')
