-- What the commands show. Nothing here reads a large table from end to end: an ORDER BY below a LIMIT is that of an
-- index, or the planner would rather read the table, expecting to find enough soon.

-- name: signature
SELECT (SELECT value FROM {setting} WHERE key = 'model'),
       coalesce((SELECT generation FROM {reprocess} ORDER BY id DESC LIMIT 1), 0), now()

-- name: backlog
SELECT count(*), count(*) FILTER (WHERE leased), count(*) FILTER (WHERE NOT leased AND due), min(enqueued_at)
FROM (SELECT coalesce(lease_until > now(), false) AS leased, not_before <= now() AS due, enqueued_at
      FROM {job} WHERE state = 'pending' ORDER BY priority, coalesce(lease_until, not_before) LIMIT %(most)s) pending

-- name: dead
SELECT reason, (SELECT count(*) FROM (SELECT FROM {job} j WHERE j.state = 'dead' AND j.reason = known.reason
                                      ORDER BY j.failed_at DESC LIMIT %(most)s) one)
FROM unnest(%(reasons)s) AS known (reason)

-- name: workers
SELECT worker, host, pid, signature, started_at, seen_at, ended_at,
       ended_at IS NULL AND seen_at > now() - make_interval(secs => %(alive_seconds)s)
FROM {worker} ORDER BY seen_at DESC LIMIT 100

-- name: sweep
SELECT cursor_id, cycle, cycle_looked, cycle_found, cycle_started_at, cycle_ended_at, ticked_at FROM {sweep}

-- name: reprocess
SELECT r.generation, r.cause, r.started_at, r.walked_at IS NOT NULL, r.ended_at,
       extract(epoch FROM coalesce(r.ended_at, now()) - r.started_at)::float8,
       (SELECT count(*) FROM (SELECT FROM {job} WHERE state = 'pending' AND priority = 1
                              ORDER BY coalesce(lease_until, not_before) LIMIT %(most)s) pending)
FROM {reprocess} r ORDER BY r.id DESC LIMIT 1

-- name: size
-- In pages, with those of its partitions, where it has any.
SELECT (sum(pg_relation_size(relid)) / current_setting('block_size')::bigint)::bigint
FROM (SELECT %(table)s::regclass AS relid UNION SELECT relid FROM pg_partition_tree(%(table)s::regclass)) parts

-- name: images
SELECT count(*) FROM {source} TABLESAMPLE SYSTEM (%(percent)s)

-- name: versions
SELECT {target_version}, count(*) FROM {target} TABLESAMPLE SYSTEM (%(percent)s)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50

-- name: writes
SELECT coalesce(sum(s.n_tup_ins + s.n_tup_upd), 0)::bigint
FROM pg_stat_all_tables s
WHERE s.relid = %(table)s::regclass OR s.relid IN (SELECT relid FROM pg_partition_tree(%(table)s::regclass))

-- name: failures
-- The newest of each reason, then the newest of those: the index gives them without a sort of all.
SELECT newest.image_id, newest.reason, newest.last_error, newest.attempts, newest.failed_at,
       {kept_location}, octet_length(s.{source_location})
FROM unnest(%(reasons)s) AS known (reason)
CROSS JOIN LATERAL (
    SELECT * FROM {job} j WHERE j.state = 'dead' AND j.reason = known.reason ORDER BY j.failed_at DESC LIMIT %(limit)s
) newest
LEFT JOIN {source} s ON s.{source_id} = newest.image_id
ORDER BY newest.failed_at DESC, newest.image_id LIMIT %(limit)s

-- name: waiting
-- Those that failed and are not due yet, in the order of the index; whoever is in work there is passed over.
SELECT next.image_id, next.reason, next.last_error, next.attempts, next.not_before,
       {kept_location}, octet_length(s.{source_location})
FROM (VALUES (0::smallint), (1::smallint)) AS p (priority)
CROSS JOIN LATERAL (
    SELECT * FROM {job} j
    WHERE j.state = 'pending' AND j.priority = p.priority AND coalesce(j.lease_until, j.not_before) > now()
      AND j.lease_until IS NULL AND j.reason IS NOT NULL
    ORDER BY coalesce(j.lease_until, j.not_before) LIMIT %(limit)s
) next
LEFT JOIN {source} s ON s.{source_id} = next.image_id
ORDER BY next.not_before, next.image_id LIMIT %(limit)s

-- name: whereabouts
-- The whole location; of a picture that lies in the row, its size.
SELECT s.{source_id}, {whole_location}, octet_length(s.{source_location})
FROM {source} s WHERE s.{source_id} = %(id)s

-- name: glance
-- For one transaction: a look that is held up gives way, since it is only a look.
SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', %(milliseconds)s, true)

-- name: image
SELECT {kept_location}, octet_length(s.{source_location})
FROM {source} s WHERE s.{source_id} = %(id)s

-- name: vector
-- The users' table may lack the columns of the times.
SELECT t.{target_version}, rest ->> 'create_time', rest ->> 'update_time'
FROM {target} t CROSS JOIN LATERAL (SELECT to_jsonb(t) - %(vector_column)s AS rest) r WHERE t.{target_id} = %(id)s

-- name: job
SELECT state, revision, attempts, not_before, lease_until, worker, reason, last_error, enqueued_at, failed_at,
       not_before <= now(), coalesce(lease_until > now(), false)
FROM {job} WHERE image_id = %(id)s

-- name: now
SELECT now()

-- name: retry_one
-- Somebody waits for the answer, and of a writer whose transaction is open nobody knows when it ends.
SET LOCAL lock_timeout = '500ms';
UPDATE {job} SET state = 'pending', priority = 0, attempts = 0, not_before = now(), lease_token = NULL,
    lease_until = NULL, worker = NULL, suspect = false, reason = NULL, last_error = NULL, failed_at = NULL, enqueued_at = now()
WHERE image_id = %(id)s AND coalesce(lease_until < now(), true)

-- name: retry_some
WITH chosen AS MATERIALIZED (
    SELECT image_id FROM {job}
    WHERE state = 'dead' AND reason = %(reason)s AND failed_at < %(before)s
    ORDER BY failed_at DESC LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE {job} j SET state = 'pending', priority = 1, attempts = 0, not_before = now(), suspect = false, reason = NULL,
    last_error = NULL, failed_at = NULL, enqueued_at = now()
FROM chosen WHERE j.image_id = chosen.image_id

-- name: notify
SELECT pg_notify(%(channel)s, '')

-- name: give_up_after
SELECT set_config('statement_timeout', %(milliseconds)s, true)

-- name: vector_kind
-- pgvector may lie in a schema that nobody searches; and without these its index gives up before it has found k.
SELECT format_type(a.atttypid, NULL), set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),
           (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector')), true),
       set_config('hnsw.ef_search', %(ef_search)s, true)
FROM pg_attribute a WHERE a.attrelid = %(table)s::regclass AND a.attname = %(vector_column)s

-- name: vector_of
SELECT {target_vector}::text, {target_version}, {target_id} FROM {target} WHERE {target_id} = %(id)s

-- name: nearest_vector
SELECT {target_id}, 1 - ({target_vector} <=> %(vector)s::vector), {target_version} FROM {target}
ORDER BY {target_vector} <=> %(vector)s::vector LIMIT %(k)s

-- name: nearest_halfvec
SELECT {target_id}, 1 - ({target_vector} <=> %(vector)s::halfvec), {target_version} FROM {target}
ORDER BY {target_vector} <=> %(vector)s::halfvec LIMIT %(k)s

-- name: nearest_real
SELECT {target_id}, 1 - ({target_vector}::vector <=> %(vector)s::vector), {target_version} FROM {target}
ORDER BY {target_vector}::vector <=> %(vector)s::vector LIMIT %(k)s
