-- What is read of PostgreSQL's catalog, and the few statements of the migration that are not a file of their own.

-- name: lock_migration
-- One daemon at a time, of all instances in this database: they may share the users' tables.
SELECT pg_advisory_xact_lock(hashtextextended('vectord.migrate', 0))

-- name: relation
SELECT c.oid, c.relkind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s

-- name: columns
-- A domain counts as what it is made of. A collation is told only where it is not the database's own.
SELECT a.attname, t.typname, t.typcategory, n.nspname, nullif(coalesce(nullif(a.atttypmod, -1), d.typtypmod), -1),
       coalesce((
           SELECT format('%%I.%%I', cn.nspname, c.collname)
           FROM pg_collation c JOIN pg_namespace cn ON cn.oid = c.collnamespace
           WHERE c.oid = a.attcollation AND c.collprovider <> 'd'
       ), '')
FROM pg_attribute a
JOIN pg_type d ON d.oid = a.atttypid
JOIN pg_type t ON t.oid = coalesce(nullif(d.typbasetype, 0), d.oid)
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped

-- name: unique_columns
-- Columns that alone identify a row: what ON CONFLICT needs.
SELECT DISTINCT a.attname
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indexprs IS NULL

-- name: schemas
SELECT nspname FROM pg_namespace WHERE nspname = ANY(%(schemas)s)

-- name: vector_extension
SELECT n.nspname
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'

-- name: settings
SELECT key, value FROM {setting} WHERE key = ANY(%(keys)s)

-- name: installed_triggers
-- Those of ours on the source table that are as the migration made them: enabled, and calling our functions.
SELECT t.tgname
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE t.tgrelid = %(oid)s AND t.tgname = ANY(%(names)s) AND t.tgenabled <> 'D' AND n.nspname = %(schema)s

-- name: row_security
-- Of these tables, those of which this role reads and writes only what policies let it: it neither owns them nor has
-- BYPASSRLS. And what would change that.
SELECT oid, format('ALTER ROLE %%I BYPASSRLS;', current_user)
FROM pg_class WHERE oid = ANY(%(tables)s::oid[]) AND row_security_active(oid)

-- name: rights
-- Each right that the daemon needs, whether the role has it, and what would give it. The last column says whether the
-- daemon can do without.
WITH relation AS (
    SELECT c.oid, c.relname, n.nspname, format('%%I.%%I', n.nspname, c.relname) AS name, c.relkind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
), needed (object, privilege, held, target, optional) AS (
    SELECT format('database %%I', current_database()), 'TEMPORARY',
           has_database_privilege(current_database(), 'TEMPORARY'),
           format('TEMPORARY ON DATABASE %%I', current_database()), false
    UNION ALL
    SELECT format('schema %%I', nspname), 'USAGE', has_schema_privilege(oid, 'USAGE'),
           format('USAGE ON SCHEMA %%I', nspname), false
    FROM pg_namespace WHERE nspname IN (%(schema)s, %(source_schema)s, %(target_schema)s)
    UNION ALL
    SELECT 'table ' || name, p, has_table_privilege(oid, p), format('%%s ON %%s', p, name), false
    FROM relation CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
    WHERE nspname = %(schema)s AND relkind = 'r'
    UNION ALL
    SELECT 'sequence ' || name, 'UPDATE', has_sequence_privilege(oid, 'UPDATE'),
           format('UPDATE ON SEQUENCE %%s', name), false
    FROM relation WHERE nspname = %(schema)s AND relname = 'bell'
    UNION ALL
    SELECT 'table ' || name, p, has_table_privilege(oid, p), format('%%s ON %%s', p, name), false
    FROM relation CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p
    WHERE oid = %(target)s
    UNION ALL
    SELECT 'table ' || name, 'SELECT', has_table_privilege(oid, 'SELECT')
               OR (has_column_privilege(oid, %(source_id)s, 'SELECT')
                   AND has_column_privilege(oid, %(source_location)s, 'SELECT')),
           format('SELECT (%%I, %%I) ON %%s', %(source_id)s, %(source_location)s, name), false
    FROM relation WHERE oid = %(source)s
    UNION ALL
    -- What the foreign key asks for, where this role makes the table of vectors.
    SELECT 'table ' || name, 'REFERENCES', has_column_privilege(oid, %(source_id)s, 'REFERENCES'),
           format('REFERENCES (%%I) ON %%s', %(source_id)s, name), false
    FROM relation
    WHERE oid = %(source)s AND %(target)s IS NULL
      AND (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %(target_schema)s) IS NOT false
    UNION ALL
    SELECT 'sequence ' || s.name, 'USAGE', has_sequence_privilege(s.oid, 'USAGE'),
           format('USAGE ON SEQUENCE %%s', s.name), false
    FROM pg_depend d JOIN relation s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.refobjid = %(target)s AND d.deptype = 'a' AND d.classid = 'pg_class'::regclass
    UNION ALL
    -- What FOR KEY SHARE asks for: without it a deletion in mid-store is met by trying again.
    SELECT 'table ' || name, 'UPDATE', has_any_column_privilege(oid, 'UPDATE'),
           format('UPDATE (%%I) ON %%s', %(source_id)s, name), true
    FROM relation WHERE oid = %(source)s
)
SELECT object, privilege, held, format('GRANT %%s TO %%I;', target, current_user), optional FROM needed
