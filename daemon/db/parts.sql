-- What several statements say in the same words: `{vector_counts}` in any of them, and in a part further down, is the part
-- of that name.

-- name: by_index
-- The plans are index scans whatever the statistics say (or do not say yet), and locks are hardly waited for
-- (daemon/db/yielding.py).
set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
set_config('lock_timeout', %(lock_timeout)s, true)

-- name: whole_location
-- The bytes that a text is kept as (daemon/db/driver.py, text_of); NULL for a picture that lies in the row.
CASE WHEN pg_typeof(s.{source_location}) = 'bytea'::regtype THEN NULL
     ELSE convert_to(s.{source_location}::text, getdatabaseencoding()) END

-- name: kept_location
-- The same of its beginning, for people.
CASE WHEN pg_typeof(s.{source_location}) = 'bytea'::regtype THEN NULL
     ELSE convert_to(left(s.{source_location}::text, 2000), getdatabaseencoding()) END

-- name: hurry
SELECT set_config('lock_timeout', %(lock_timeout)s, true)

-- name: vector_counts
t.{target_vector} IS NOT NULL AND (
    t.{target_version} = %(signature)s
    -- Another program's, which is left alone unless it is to be replaced.
    OR (NOT %(replace_foreign)s AND starts_with(t.{target_version}, %(ours)s) IS NOT TRUE)
)

-- name: its_vector
-- Whether the image `looked.id` has a vector that counts: `vector.done`. LIMIT 1 below LATERAL, here and in what joins
-- jobs like that, keeps the planner from turning a few thousand probes into a join over the whole table.
LEFT JOIN LATERAL (
    SELECT true AS done FROM {target} t
    WHERE t.{target_id} = looked.id AND {vector_counts}
    LIMIT 1
) vector ON true

-- name: nothing_known
-- That the image `looked.id` has neither a vector that counts nor a job. A dead job from before a forced reprocess does
-- not count, nor does one for want of a location that is there by now, which no trigger need have told.
{its_vector}
LEFT JOIN LATERAL (
    SELECT true AS known FROM {job} j
    WHERE j.image_id = looked.id
      AND (j.state = 'pending' OR %(forced_since)s::timestamptz IS NULL OR j.failed_at >= %(forced_since)s)
      AND NOT (j.state = 'dead' AND j.reason = 'empty_location' AND EXISTS (
          SELECT FROM {source} s WHERE s.{source_id} = j.image_id
              AND octet_length(s.{source_location}) > 0 AND left(s.{source_location}::text, 2000) ~ '\S'
      ))
    LIMIT 1
) job ON true
WHERE vector.done IS NULL AND job.known IS NULL

-- name: holds
-- That the backfill `b` works on a range which the image `looked.id` is in.
b.until > now() AND (b.after_id IS NULL OR looked.id > b.after_id) AND looked.id <= b.upto_id

-- name: depth
-- Pending jobs, counted only so far, and those of them that can be worked on or are. What a backfill has leased is not
-- the daemons' work: it would keep the queue full for them.
SELECT count(*), count(*) FILTER (WHERE lease_token IS NOT NULL OR not_before <= now())
FROM (
    SELECT lease_token, not_before FROM {job}
    WHERE state = 'pending' AND starts_with(worker, 'backfill:') IS NOT TRUE LIMIT %(most)s
) pending

-- name: missing
-- What a backfill has to do in a range of ids: as the sweep's `find`, except that jobs that are due count too, as a
-- backfill claims like any daemon. What is leased, waits for a retry or is dead belongs to the daemons. A lease of this
-- backfill's own is one that a dead worker left, or that the same call made before: no two workers have the same range
-- at a time.
looked AS MATERIALIZED (
    SELECT s.{source_id} AS id FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s) AND s.{source_id} <= %(upto)s
    ORDER BY s.{source_id}
), missing AS MATERIALIZED (
    SELECT looked.id FROM looked
    {its_vector}
    LEFT JOIN LATERAL (
        SELECT true AS kept FROM {job} j
        WHERE j.image_id = looked.id AND NOT (
            (j.state = 'pending' AND coalesce(j.lease_until, j.not_before) <= now()
             AND (j.lease_token IS NULL OR j.attempts < %(max_attempts)s))
            OR (j.state = 'pending' AND coalesce(j.worker = %(worker)s, false) AND j.attempts < %(max_attempts)s)
            OR (j.state = 'dead' AND coalesce(j.failed_at < %(forced_since)s::timestamptz, false))
        )
        LIMIT 1
    ) job ON true
    WHERE vector.done IS NULL AND job.kept IS NULL
    ORDER BY looked.id LIMIT %(most)s
)
