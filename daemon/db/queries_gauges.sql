-- What the metrics show of the database: one look every ten seconds or so, its cost bounded whatever the tables' size.

-- name: begin
-- A look that is held up gives way: it is only a look. The settings keep the plans to index scans whatever the statistics
-- say (or do not say yet).
SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', %(milliseconds)s, true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)

-- name: jobs
-- Counted so far and no further. An ORDER BY below a LIMIT is that of an index, or the planner would rather read the
-- table, expecting to find enough soon.
SELECT pending, leased, due, dead, oldest_pending
FROM (SELECT count(*) AS pending, count(*) FILTER (WHERE leased) AS leased,
             count(*) FILTER (WHERE due AND NOT leased) AS due, min(enqueued_at) AS oldest_pending
      FROM (SELECT coalesce(lease_until > now(), false) AS leased, not_before <= now() AS due, enqueued_at
            FROM {job} WHERE state = 'pending'
            ORDER BY priority, coalesce(lease_until, not_before) LIMIT %(most)s) first) p,
     (SELECT count(*) AS dead
      FROM (SELECT FROM {job} WHERE state = 'dead' ORDER BY reason, failed_at DESC LIMIT %(most)s) first) d

-- name: oldest_due
SELECT min(j.due) AS oldest_due
FROM (VALUES (0::smallint), (1::smallint)) AS p (priority)
CROSS JOIN LATERAL (
    SELECT coalesce(d.lease_until, d.not_before) AS due
    FROM {job} d
    WHERE d.state = 'pending' AND d.priority = p.priority
    ORDER BY coalesce(d.lease_until, d.not_before)
    LIMIT 1
) j
WHERE j.due <= now()

-- name: job_table
SELECT pg_total_relation_size('{job}') AS job_table_bytes,
       pg_stat_get_dead_tuples('{job}'::regclass) AS job_table_dead_rows

-- name: rows
-- Estimates that PostgreSQL keeps anyway, with those of partitions, where there are any.
SELECT (SELECT coalesce(sum(pg_stat_get_live_tuples(relid)), 0)::bigint
        FROM (SELECT %(source)s::regclass AS relid UNION SELECT relid FROM pg_partition_tree(%(source)s::regclass)) parts)
           AS source_rows,
       (SELECT coalesce(sum(pg_stat_get_live_tuples(relid)), 0)::bigint
        FROM (SELECT %(target)s::regclass AS relid UNION SELECT relid FROM pg_partition_tree(%(target)s::regclass)) parts)
           AS target_rows

-- name: sweep
SELECT s.ticked_at AS swept_at, s.cycle_ended_at, s.cycle, s.cycle_looked, s.cycle_found,
       r.id IS NOT NULL AS reprocessing, r.walked_at IS NOT NULL AS walked,
       CASE WHEN r.id IS NULL THEN 0 ELSE (
           SELECT count(*) FROM (SELECT FROM {job} WHERE state = 'pending' AND priority = 1
                                 ORDER BY coalesce(lease_until, not_before) LIMIT %(most)s) first) END AS backfill
FROM {sweep} s
LEFT JOIN (SELECT id, walked_at FROM {reprocess} WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1) r ON true

-- name: server
-- Sessions of other roles show no xact_start without pg_read_all_stats.
SELECT pg_notification_queue_usage() AS notification_queue,
       (SELECT min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid())
           AS oldest_transaction
