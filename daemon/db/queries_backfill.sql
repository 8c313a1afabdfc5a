-- A backfill by a cluster (daemon/db/backfill.py, daemon/db/shards.py).

-- name: begin
SELECT {by_index}

-- name: lease
-- Makes the jobs of a range, leased from the start, and takes over those that are due. Whoever else holds one keeps it.
WITH {missing}
INSERT INTO {job} AS j (image_id, priority, attempts, lease_token, lease_until, worker)
SELECT id, %(priority)s, 1, %(token)s, now() + %(lease_seconds)s * interval '1 second', %(worker)s FROM missing
ON CONFLICT (image_id) DO UPDATE
SET state = 'pending', lease_token = EXCLUDED.lease_token, lease_until = EXCLUDED.lease_until, worker = EXCLUDED.worker,
    attempts = CASE WHEN j.state = 'dead' THEN 1 WHEN j.lease_token = EXCLUDED.lease_token THEN j.attempts
                    ELSE j.attempts + 1 END,
    suspect = j.suspect AND j.state = 'pending', failed_at = NULL
WHERE (j.state = 'pending' AND (coalesce(j.lease_until, j.not_before) <= now() OR j.worker = EXCLUDED.worker))
   OR (j.state = 'dead' AND j.failed_at < %(forced_since)s::timestamptz)
RETURNING j.image_id, j.revision, j.attempts, j.suspect, j.enqueued_at, true

-- name: left
WITH {missing} SELECT count(*) FROM missing

-- name: peek
WITH {missing} SELECT id FROM missing

-- name: give_back
-- All that a backfill has leased; `given_back` is 1 where that was nobody's fault.
UPDATE {job} j
SET attempts = greatest(j.attempts - %(given_back)s, 0), lease_token = NULL, lease_until = NULL, worker = NULL,
    not_before = now()
FROM (SELECT image_id FROM {job} WHERE state = 'pending' AND worker = %(worker)s FOR NO KEY UPDATE SKIP LOCKED) held
WHERE j.image_id = held.image_id

-- name: forced_since
SELECT max(started_at) FROM {reprocess} WHERE forced AND walked_at IS NULL

-- name: next
-- The next images after an id: how many, up to a shard's size, and the last of them.
WITH looked AS MATERIALIZED (
    SELECT s.{source_id} AS id FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s)
    ORDER BY s.{source_id} LIMIT %(size)s
)
SELECT count(*), (SELECT id FROM looked ORDER BY id DESC LIMIT 1) FROM looked

-- name: edges
-- The ids that end each part of so many images of a range, in order.
SELECT id FROM (
    SELECT s.{source_id} AS id, row_number() OVER (ORDER BY s.{source_id}) AS place,
           lead(s.{source_id}) OVER (ORDER BY s.{source_id}) IS NULL AS ends
    FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s) AND s.{source_id} <= %(upto)s
) numbered
WHERE place %% %(size)s = 0 OR ends
ORDER BY id

-- name: planned
-- Where planning goes on: nowhere in particular when no shard is open. Images may have come again, and vectors gone, in
-- what was finished once.
SELECT number, upto_id FROM {shard}
WHERE signature = %(signature)s AND EXISTS (SELECT FROM {shard} WHERE signature = %(signature)s AND finished_at IS NULL)
ORDER BY number DESC LIMIT 1

-- name: last
SELECT number, upto_id FROM {shard} WHERE signature = %(signature)s ORDER BY number DESC LIMIT 1

-- name: begin_anew
DELETE FROM {shard}
WHERE signature = %(signature)s
  AND NOT EXISTS (SELECT FROM {shard} WHERE signature = %(signature)s AND finished_at IS NULL)

-- name: plan
INSERT INTO {shard} (signature, number, after_id, upto_id, images)
VALUES (%(signature)s, %(number)s, %(after)s, %(upto)s, %(images)s) ON CONFLICT DO NOTHING

-- name: open
SELECT number, after_id, upto_id, images FROM {shard}
WHERE signature = %(signature)s AND finished_at IS NULL AND number > %(above)s ORDER BY number LIMIT %(limit)s

-- name: count
UPDATE {shard} SET stored = stored + %(stored)s, dead = dead + %(dead)s, retried = retried + %(retried)s
WHERE signature = %(signature)s AND number = %(number)s

-- name: finish
UPDATE {shard} SET finished_at = now() WHERE signature = %(signature)s AND number = %(number)s

-- name: totals
SELECT count(*), coalesce(sum(images), 0), count(*) FILTER (WHERE finished_at IS NULL),
       coalesce(sum(images) FILTER (WHERE finished_at IS NULL), 0)
FROM {shard} WHERE signature = %(signature)s

-- name: hold
INSERT INTO {backfill} AS b (worker, after_id, upto_id, until)
VALUES (%(worker)s, %(after)s, %(upto)s, now() + %(seconds)s * interval '1 second')
ON CONFLICT (worker) DO UPDATE SET after_id = EXCLUDED.after_id, upto_id = EXCLUDED.upto_id, until = EXCLUDED.until

-- name: let_go
DELETE FROM {backfill} WHERE worker = %(worker)s OR until < now()
