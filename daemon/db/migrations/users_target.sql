-- The users' table of vectors, made only where it is missing.

DO $make$
BEGIN
IF to_regclass({target_literal}) IS NULL THEN
    CREATE TABLE {target} (
        id               bigserial PRIMARY KEY,
        {target_id}      {id_type} NOT NULL UNIQUE REFERENCES {source} ({source_id}) ON DELETE CASCADE,
        {target_vector}  {vector_type}({dimension}) NOT NULL,
        {dimension_definition}
        {target_version} varchar(50),
        create_time      timestamp DEFAULT now(),
        update_time      timestamp DEFAULT now()
    );
    CREATE OR REPLACE FUNCTION {touch_function}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.update_time := now();
        RETURN NEW;
    END $$;
    CREATE TRIGGER {touch_trigger} BEFORE UPDATE ON {target} FOR EACH ROW EXECUTE FUNCTION {touch_function}();
    {index_statement}
END IF;
END $make$;
