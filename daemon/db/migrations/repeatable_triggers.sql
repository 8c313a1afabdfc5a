-- The triggers on the source table: statement-level, with transition tables. They run as their owner, so that the
-- application that writes images needs no right on vectord's schema. Their owner's rights are no prey for the caller's
-- search_path: the functions set their own, but for the one that every INSERT pays for, which saves a tenth of its cost by
-- naming the schema of each function and operator. A job that is there already comes to stand for a new
-- revision of its image; jobs are locked in the order of their ids. A row whose id is NULL is no image, and its writer's
-- business alone. ring.sql is what tells the daemons.
--
-- A session keeps the plans of its first calls, which mostly were of one row each, for the bulk update that comes later.
-- So no plan may be one that is good for few rows only, or for the empty queue of that moment: no transition table is
-- joined row by row with the other one (enable_nestloop), and jobs are found through their index (enable_seqscan).

CREATE OR REPLACE FUNCTION {schema}.image_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    present double precision;
    bell bigint;
BEGIN
    INSERT INTO {job} AS j (image_id)
    SELECT n.{source_id} FROM new_rows n WHERE n.{source_id} IS NOT NULL
    ON CONFLICT (image_id) DO UPDATE SET {renewed};
    {ring}
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {schema}.image_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET enable_seqscan = off AS $$
DECLARE
    present double precision;
    bell bigint;
BEGIN
    -- An id that changed is an image that went and another that came.
    DELETE FROM {job} WHERE image_id = ANY (ARRAY(
        SELECT o.{source_id} FROM old_rows o
        WHERE NOT EXISTS (SELECT FROM new_rows n WHERE n.{source_id} = o.{source_id})
    ));
    INSERT INTO {job} AS j (image_id)
    SELECT n.{source_id} FROM new_rows n LEFT JOIN old_rows o ON o.{source_id} = n.{source_id}
    WHERE n.{source_id} IS NOT NULL
        AND (o.{source_id} IS NULL OR o.{source_location} IS DISTINCT FROM n.{source_location})
    ORDER BY n.{source_id}
    ON CONFLICT (image_id) DO UPDATE SET {renewed};
    {ring}
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {schema}.image_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM {job} WHERE image_id = ANY (ARRAY(SELECT o.{source_id} FROM old_rows o));
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {schema}.images_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM {job};
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION {schema}.image_inserted(), {schema}.image_updated(), {schema}.image_deleted(),
    {schema}.images_truncated() FROM PUBLIC;

CREATE OR REPLACE TRIGGER {trigger_insert} AFTER INSERT ON {source}
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {schema}.image_inserted();

-- A trigger with transition tables may not name columns, so the function tells whether the location changed.
CREATE OR REPLACE TRIGGER {trigger_update} AFTER UPDATE ON {source}
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.image_updated();

CREATE OR REPLACE TRIGGER {trigger_delete} AFTER DELETE ON {source}
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {schema}.image_deleted();

CREATE OR REPLACE TRIGGER {trigger_truncate} AFTER TRUNCATE ON {source}
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.images_truncated();
