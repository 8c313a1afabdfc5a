-- What a backfill has to do in a range of ids: a part of its statements (daemon/db/backfill.py).

-- name: missing
-- As the sweep's `find`, except that jobs that are due count too: a backfill claims like any daemon. What is leased,
-- waits for a retry or is dead belongs to the daemons. A lease of this backfill's own is one that a dead worker left, or
-- that the same call made before: no two workers have the same range at a time.
looked AS MATERIALIZED (
    SELECT s.{source_id} AS id FROM {source} s
    WHERE s.{source_id} IS NOT NULL AND (%(after)s IS NULL OR s.{source_id} > %(after)s) AND s.{source_id} <= %(upto)s
    ORDER BY s.{source_id}
), missing AS MATERIALIZED (
    SELECT looked.id FROM looked
    LEFT JOIN LATERAL (
        SELECT true AS done FROM {target} t
        WHERE t.{target_id} = looked.id AND {vector_counts}
        LIMIT 1
    ) vector ON true
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
