-- What several statements say in the same words: `{vector_counts}` in any of them is the part of that name.

-- name: vector_counts
t.{target_vector} IS NOT NULL AND (
    t.{target_version} = %(signature)s
    -- Another program's, which is left alone unless it is to be replaced.
    OR (NOT %(replace_foreign)s AND starts_with(t.{target_version}, %(ours)s) IS NOT TRUE)
)

-- name: depth
-- Pending jobs, counted only so far, and those of them that can be worked on or are. What a backfill has leased is not
-- the daemons' work: it would keep the queue full for them.
SELECT count(*), count(*) FILTER (WHERE lease_token IS NOT NULL OR not_before <= now())
FROM (
    SELECT lease_token, not_before FROM {job}
    WHERE state = 'pending' AND starts_with(worker, 'backfill:') IS NOT TRUE LIMIT %(most)s
) pending
