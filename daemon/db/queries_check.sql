-- What `check` reads of the database (daemon/db/inspection.py), all of it in one read-only transaction.

-- name: read_only
SET TRANSACTION READ ONLY

-- name: server
-- The last figure is how many more connections this role may open. pg_stat_activity hides the others' from it.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS number,
       current_user::text AS role,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS read_only,
       extract(epoch FROM clock_timestamp())::double precision AS clock,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - (SELECT sum(numbackends)::integer FROM pg_stat_database) AS connections_left

-- name: extension
-- pgvector as it is in this database, and as it lies ready on the server; null where it is not.
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS installed,
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available

-- name: may_create
-- Whether the role may make tables in each schema, or the schema itself where there is none.
SELECT s, coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = s),
                   has_database_privilege(current_database(), 'CREATE'))
FROM unnest(%(schemas)s) s

-- name: disabled_triggers
SELECT tgname FROM pg_trigger WHERE tgrelid = %(oid)s AND tgname = ANY(%(names)s) AND tgenabled = 'D'

-- name: lives_here
SELECT EXISTS (SELECT FROM {worker} WHERE host = %(host)s AND ended_at IS NULL
               AND seen_at > now() - make_interval(secs => %(seconds)s))

-- name: newest
-- Its location, or the picture itself.
SELECT s.{source_id}, {whole_location},
       CASE WHEN pg_typeof(s.{source_location}) = 'bytea'::regtype THEN s.{source_location} END
FROM {source} s ORDER BY s.{source_id} DESC LIMIT 1
