-- The index over the vectors (daemon/db/index.py).

-- name: vector_indexes
-- The HNSW indexes on the vector column, by their qualified and quoted names. One that is not valid is what a build that
-- failed, or was broken off, left behind: it costs every write and serves no search.
SELECT format('%%I.%%I', n.nspname, c.relname), i.indisvalid
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am m ON m.oid = c.relam
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = %(oid)s AND m.amname = 'hnsw' AND a.attname = %(column)s
ORDER BY 1

-- name: index_builder
-- Who builds an index of this table at this moment. Of other roles' builds the table is not shown.
SELECT pid FROM pg_stat_progress_create_index WHERE relid = %(oid)s LIMIT 1

-- name: index_progress
SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %(pid)s

-- name: patient
-- For a session that builds, or drops: it may take hours, and waits for the transactions of others. What is set for the
-- role or the database bounds statements of a service.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout')

-- name: index_memory
SELECT set_config('maintenance_work_mem', %(memory)s, false)
