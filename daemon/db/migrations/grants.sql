-- What the daemon's role needs once everything is made.

GRANT USAGE ON SCHEMA {schema}, {source_schema}, {target_schema} TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT UPDATE ON SEQUENCE {bell} TO {role};
GRANT SELECT ON {source} TO {role};
-- To lock an image against deletion while its vector is stored; no row of it is ever written.
GRANT UPDATE ({source_id}) ON {source} TO {role};
GRANT SELECT, INSERT, UPDATE ON {target} TO {role};
DO $grant$
DECLARE
    sequence regclass;
BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {role}', current_database());
    FOR sequence IN
        SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        WHERE d.refobjid = {target_literal}::regclass AND d.deptype = 'a' AND d.classid = 'pg_class'::regclass
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO {role}', sequence);
    END LOOP;
END $grant$;
