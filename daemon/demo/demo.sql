-- The demo plays the users' application: it writes images, and it reads vectors.

-- name: insert_image
INSERT INTO {source} ({source_id}, {source_location}) VALUES (%(id)s, %(location)s)

-- name: progress
SELECT (SELECT count(*) FROM {target}),
       (SELECT count(*) FROM {job} WHERE state = 'dead')

-- name: failures
SELECT reason, count(*) FROM {job} WHERE state = 'dead' GROUP BY reason ORDER BY count(*) DESC, reason

-- name: exact_search
-- The index answers approximately; a figure to compare with others wants the exact answer.
SET LOCAL enable_indexscan = off

-- name: nearest
-- Each image's k nearest others by cosine distance.
SELECT one.{target_id}, other.{target_id}, 1 - (one.{target_vector} <=> other.{target_vector})
FROM {target} one
CROSS JOIN LATERAL (
    SELECT o.{target_id}, o.{target_vector} FROM {target} o
    WHERE o.{target_id} <> one.{target_id}
    ORDER BY o.{target_vector} <=> one.{target_vector} LIMIT %(k)s
) other
WHERE %(ids)s::bigint[] IS NULL OR one.{target_id} = ANY(%(ids)s::bigint[])
ORDER BY one.{target_id}, one.{target_vector} <=> other.{target_vector}
