-- Writing what became of claims (daemon/db/outcomes.py), fenced: what is written about a claim is written only while the
-- job's revision and token are still the claim's. Placeholders in braces are names (daemon/db/names.py), and: {stage} the
-- staging table, {id_kind} the type of its ids, {lock_image} the locking clause, {lock_timeout} how long to wait for others.

-- name: prepare_store
-- Waits for nobody for long: the locks on tables are had now or never, so that a wait later on can only be for a vector
-- that another session is writing at this moment. The staging table is of this session; behind PgBouncer the session
-- may be anybody's, hence IF NOT EXISTS, and a name that goes with its columns.
SET LOCAL lock_timeout = '{lock_timeout}';
SET LOCAL client_min_messages = warning;
LOCK TABLE {target} IN ROW EXCLUSIVE MODE;
CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS AS
SELECT NULL::{id_kind} AS image_id, NULL::bigint AS revision, NULL::uuid AS token, {target_vector} AS vector
FROM {target} WITH NO DATA

-- name: stage
COPY {stage} (image_id, revision, token, vector) FROM STDIN (FORMAT binary)

-- name: store
-- The fenced store. `held`: the jobs that are still these claims', locked. `alive`: their images, locked against
-- deletion. `free`: of those, the ones whose vector nobody else has locked. Exactly these are upserted and their jobs
-- deleted. A job whose image is gone goes too; one whose image or vector somebody holds goes back, uncharged. The tokens
-- tell which claim it was: of one image, one that was overtaken may lie in the stage beside the one that holds.
WITH held AS MATERIALIZED (
    SELECT j.image_id, s.token, s.vector
    FROM {stage} s JOIN {job} j ON j.image_id = s.image_id AND j.revision = s.revision AND j.lease_token = s.token
    WHERE j.state = 'pending' AND j.image_id = ANY(ARRAY(SELECT image_id FROM {stage}))
    ORDER BY j.image_id
    FOR UPDATE OF j SKIP LOCKED
), alive AS MATERIALIZED (
    SELECT i.{source_id} AS image_id
    FROM {source} i
    WHERE i.{source_id} = ANY(ARRAY(SELECT image_id FROM held))
    ORDER BY i.{source_id}
    {lock_image}
), present AS MATERIALIZED (
    SELECT t.{target_id} AS image_id FROM {target} t WHERE t.{target_id} = ANY(ARRAY(SELECT image_id FROM alive))
), mine AS MATERIALIZED (
    SELECT t.{target_id} AS image_id
    FROM {target} t
    WHERE t.{target_id} = ANY(ARRAY(SELECT image_id FROM present))
    ORDER BY t.{target_id}
    FOR NO KEY UPDATE SKIP LOCKED
), free AS MATERIALIZED (
    SELECT image_id FROM alive
    WHERE image_id NOT IN (SELECT image_id FROM present) OR image_id IN (SELECT image_id FROM mine)
), gone AS MATERIALIZED (
    SELECT h.image_id FROM held h WHERE NOT EXISTS (SELECT FROM {source} i WHERE i.{source_id} = h.image_id)
), finished AS (
    DELETE FROM {job} WHERE image_id = ANY(ARRAY(SELECT image_id FROM free UNION ALL SELECT image_id FROM gone))
), postponed AS (
    UPDATE {job}
    SET attempts = greatest(attempts - 1, 0), lease_token = NULL, lease_until = NULL, worker = NULL,
        not_before = now() + %(postpone_seconds)s * interval '1 second'
    WHERE image_id IN (
        SELECT image_id FROM held EXCEPT SELECT image_id FROM free EXCEPT SELECT image_id FROM gone
    )
), written AS (
    INSERT INTO {target} AS t ({target_id}, {target_vector}, {target_version}{and_dimension})
    SELECT h.image_id, h.vector, %(signature)s{and_dimension_value}
    FROM held h WHERE h.image_id IN (SELECT image_id FROM free)
    ORDER BY h.image_id
    ON CONFLICT ({target_id}) DO UPDATE
    SET {target_vector} = EXCLUDED.{target_vector}, {target_version} = EXCLUDED.{target_version}{and_set_dimension}
    RETURNING t.{target_id} AS image_id
)
SELECT h.image_id, h.token FROM held h WHERE h.image_id IN (SELECT image_id FROM written)

-- name: settle
-- What became of claims that have no vector. A reason that is not given leaves the one that is there, and a job that
-- once was suspect stays so.
UPDATE {job} j
SET state = o.state,
    attempts = greatest(j.attempts - o.given_back, 0),
    not_before = now() + o.delay * interval '1 second',
    lease_token = NULL, lease_until = NULL, worker = NULL,
    suspect = j.suspect OR o.suspect,
    reason = coalesce(o.reason, j.reason),
    last_error = CASE WHEN o.reason IS NULL THEN j.last_error ELSE o.detail END,
    failed_at = CASE WHEN o.reason IS NULL THEN j.failed_at ELSE now() END
FROM (
    SELECT l.image_id, c.token, c.state, c.given_back, c.delay, c.suspect, c.reason, c.detail
    FROM unnest(
        %(ids)s, %(revisions)s::bigint[], %(tokens)s::uuid[], %(state)s::text[], %(given_back)s::integer[],
        %(delay)s::double precision[], %(suspect)s::boolean[], %(reason)s::text[], %(detail)s::text[]
    ) AS c (image_id, revision, token, state, given_back, delay, suspect, reason, detail)
    JOIN {job} l ON l.image_id = c.image_id AND l.revision = c.revision AND l.lease_token = c.token
    WHERE l.state = 'pending'
    ORDER BY l.image_id
    FOR NO KEY UPDATE OF l SKIP LOCKED
) o
WHERE j.image_id = o.image_id
RETURNING j.image_id, o.token

-- name: hold
-- Of claims that nothing was written about, those whose jobs are still theirs: these were not overtaken, but locked.
SELECT j.image_id, j.lease_token
FROM unnest(%(ids)s, %(revisions)s::bigint[], %(tokens)s::uuid[]) AS c (image_id, revision, token)
JOIN {job} j ON j.image_id = c.image_id AND j.revision = c.revision AND j.lease_token = c.token
WHERE j.state = 'pending'
