-- Runs (daemon/db/runs.py). A run is fed and settled by whoever holds its row.

-- name: ask
INSERT INTO {run} (most, skip_processed, forced) VALUES (%(most)s, %(skip_processed)s, %(forced)s) RETURNING run_id

-- name: begin
SELECT {by_index}

-- name: hurry
{hurry}

-- name: open
-- The oldest run that is not over and that nobody is busy with.
SELECT run_id, most, skip_processed, forced, cursor_id, taken, skipped, walked_at IS NOT NULL
FROM {run} WHERE ended_at IS NULL ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: look
SELECT run_id, asked_at, most, skip_processed, forced, taken, success, failed, skipped, failed_ids, walked_at, ended_at
FROM {run} WHERE run_id = %(run)s

-- name: take
-- The next ids by primary key: how many there were up to where it stops, that id, whether the table ends there, and the
-- ids to work on, `room` at most.
WITH looked AS MATERIALIZED (
    SELECT s.{source_id} AS id FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s)
    ORDER BY s.{source_id} LIMIT %(window)s
), wanted AS MATERIALIZED (
    SELECT looked.id FROM looked
    {its_vector}
    WHERE %(forced)s OR vector.done IS NULL
    ORDER BY looked.id LIMIT %(room)s
), stop AS (
    SELECT full_up, CASE WHEN full_up THEN (SELECT id FROM wanted ORDER BY id DESC LIMIT 1)
                         ELSE (SELECT id FROM looked ORDER BY id DESC LIMIT 1) END AS id
    FROM (SELECT count(*) >= %(room)s AS full_up FROM wanted) counted
)
SELECT (SELECT count(*) FROM looked WHERE looked.id <= stop.id), stop.id,
       NOT stop.full_up AND (SELECT count(*) FROM looked) < %(window)s, ARRAY(SELECT id FROM wanted)
FROM stop

-- name: queue
-- What is dead or waits for another try is tried now; what a daemon works on stays as it is, and so does what another
-- session has locked, which is about to queue it (a trigger) or is through with it (store). Both are passed over first, as
-- ON CONFLICT waits for a locked job, and locks one even where it changes nothing, and store passes over what is locked.
WITH had AS MATERIALIZED (
    SELECT w.image_id FROM {job} w
    WHERE w.image_id = ANY(%(ids)s) AND coalesce(w.lease_until <= now(), true)
    ORDER BY w.image_id FOR NO KEY UPDATE SKIP LOCKED
)
INSERT INTO {job} AS j (image_id, priority)
SELECT image_id, %(priority)s FROM had
UNION ALL
SELECT id, %(priority)s FROM unnest(%(ids)s) AS id WHERE NOT EXISTS (SELECT FROM {job} w WHERE w.image_id = id)
ON CONFLICT (image_id) DO UPDATE
SET state = 'pending', attempts = 0, not_before = now(), lease_token = NULL, lease_until = NULL, worker = NULL,
    suspect = false, reason = NULL, last_error = NULL, failed_at = NULL
WHERE coalesce(j.lease_until <= now(), true)

-- name: remember
INSERT INTO {run_image} (run_id, image_id) SELECT %(run)s, id FROM unnest(%(ids)s) AS id ON CONFLICT DO NOTHING

-- name: advance
UPDATE {run} SET cursor_id = %(cursor)s, taken = taken + %(taken)s, skipped = skipped + %(skipped)s,
    walked_at = CASE WHEN %(walked)s THEN now() END
WHERE run_id = %(run)s

-- name: settle
-- Done is what has no job any more; failed, what is dead or waits for another try. An image that is gone is skipped, and
-- counts as one that was never queued.
WITH over AS MATERIALIZED (
    SELECT i.image_id, j.image_id IS NOT NULL AS failed, vector.there IS NOT NULL AS stored
    FROM {run_image} i
    LEFT JOIN LATERAL (SELECT k.* FROM {job} k WHERE k.image_id = i.image_id LIMIT 1) j ON true
    LEFT JOIN LATERAL (SELECT true AS there FROM {target} t WHERE t.{target_id} = i.image_id LIMIT 1) vector ON true
    WHERE i.run_id = %(run)s
      AND (j.image_id IS NULL OR j.state = 'dead' OR (j.reason IS NOT NULL AND j.lease_token IS NULL AND j.not_before > now()))
), gone AS (
    DELETE FROM {run_image} r USING over WHERE r.run_id = %(run)s AND r.image_id = over.image_id
)
UPDATE {run} r
SET success = r.success + counted.stored, failed = r.failed + counted.failed, skipped = r.skipped + counted.lost,
    taken = r.taken - counted.lost,
    failed_ids = (r.failed_ids || counted.ids)[1:%(most_ids)s]
FROM (
    SELECT count(*) FILTER (WHERE stored AND NOT failed) AS stored, count(*) FILTER (WHERE failed) AS failed,
           count(*) FILTER (WHERE NOT stored AND NOT failed) AS lost,
           coalesce(array_agg(image_id::text ORDER BY image_id) FILTER (WHERE failed), '{{}}') AS ids
    FROM over
) counted
WHERE r.run_id = %(run)s

-- name: end
UPDATE {run} SET ended_at = now()
WHERE run_id = %(run)s AND walked_at IS NOT NULL AND NOT EXISTS (SELECT FROM {run_image} WHERE run_id = %(run)s)

-- name: depth
{depth}

-- name: notify
SELECT pg_notify(%(channel)s, %(payload)s)
