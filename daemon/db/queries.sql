-- The statements of the queue (daemon/db/jobs.py). Placeholders in braces are names (daemon/db/names.py). Time is always
-- the server's. Nothing here waits for a row that somebody else has locked: SKIP LOCKED.

-- name: claim
-- Leases due jobs: of the lower priority first, the longest due first. An expired lease is due like anything else. One
-- index scan for each priority, which stops where the limit or the present is reached, so the cost does not grow with
-- the queue.
--
-- A daemon that died leaves all its leases, and one image at most was the cause. Whoever was among them max_attempts
-- times is suspected, and leased one at a time: the others that are due are put off, each for a time of its own, so
-- that few of them are in work when the next daemon dies. After twice max_attempts it is dead: nobody lived to say so.
--
-- What is read next, the images, may be behind the lock of a users' ALTER TABLE, whose transaction may go on to write
-- jobs that are locked here: of those two this one gives way, before PostgreSQL has chosen (deadlock_timeout, 1 s).
SET LOCAL lock_timeout = '500ms';
WITH due AS MATERIALIZED (
    SELECT row_number() OVER () AS place, j.image_id, j.attempts,
           j.lease_token IS NOT NULL AND j.attempts >= %(max_attempts)s AS suspected
    FROM (VALUES (0::smallint), (1::smallint)) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT d.image_id, d.lease_token, d.attempts
        FROM {job} d
        WHERE d.state = 'pending' AND d.priority = p.priority AND coalesce(d.lease_until, d.not_before) <= now()
        ORDER BY coalesce(d.lease_until, d.not_before), d.image_id
        LIMIT %(limit)s
        FOR NO KEY UPDATE SKIP LOCKED
    ) j
    LIMIT %(limit)s
), judged AS (
    SELECT place, image_id,
           CASE WHEN NOT suspected THEN 'leased'
                WHEN attempts >= 2 * %(max_attempts)s THEN 'dead'
                WHEN row_number() OVER (PARTITION BY suspected ORDER BY attempts, place) = 1 THEN 'leased'
                ELSE 'put off' END AS fate
    FROM due
)
UPDATE {job} j
SET state = CASE fate WHEN 'dead' THEN 'dead' ELSE 'pending' END,
    attempts = j.attempts + CASE fate WHEN 'leased' THEN 1 ELSE 0 END,
    lease_token = CASE fate WHEN 'leased' THEN %(token)s WHEN 'put off' THEN j.lease_token END,
    lease_until = CASE fate
                      WHEN 'leased' THEN now() + %(lease_seconds)s * interval '1 second'
                      WHEN 'put off' THEN now() + %(lease_seconds)s * (0.1 + 0.9 * random()) * interval '1 second'
                  END,
    worker = CASE fate WHEN 'leased' THEN %(worker)s WHEN 'put off' THEN j.worker END,
    reason = CASE fate WHEN 'dead' THEN %(lost_reason)s ELSE j.reason END,
    failed_at = CASE fate WHEN 'dead' THEN now() ELSE j.failed_at END
FROM judged
WHERE j.image_id = judged.image_id
RETURNING place, fate, j.image_id, j.revision, j.attempts, j.suspect, j.enqueued_at, j.priority > 0

-- name: locations
-- A statement of its own, after the jobs are locked: its snapshot is newer than theirs, so a location is never older
-- than the revision that it is taken for.
-- As the bytes that they are kept as: in a database that is not in UTF-8, one that cannot be told in it would keep all
-- others from being claimed.
SELECT {source_id}, convert_to(coalesce({source_location}::text, ''), getdatabaseencoding())
FROM {source} WHERE {source_id} = ANY(%(ids)s)

-- name: sizes
-- The same where the location column holds the picture itself.
SELECT {source_id}, coalesce(octet_length({source_location}), 0) FROM {source} WHERE {source_id} = ANY(%(ids)s)

-- name: stored_bytes
SELECT {source_location} FROM {source} WHERE {source_id} = %(id)s

-- name: forget
-- Jobs just claimed whose image is gone.
DELETE FROM {job} WHERE image_id = ANY(%(ids)s) AND lease_token = %(token)s

-- name: renew
UPDATE {job} j SET lease_until = now() + %(lease_seconds)s * interval '1 second'
FROM (
    SELECT l.image_id
    FROM unnest(%(ids)s, %(revisions)s::bigint[], %(tokens)s::uuid[]) AS c (image_id, revision, token)
    JOIN {job} l ON l.image_id = c.image_id AND l.revision = c.revision AND l.lease_token = c.token
    ORDER BY l.image_id
    FOR NO KEY UPDATE OF l SKIP LOCKED
) held
WHERE j.image_id = held.image_id

-- name: release
-- A job that another session has locked is waited for: passed over, it would be left to its lease. Not for as long as
-- PostgreSQL waits (deadlock_timeout, 1 s), so that nobody else's transaction is the one to lose.
SET LOCAL lock_timeout = '500ms';
UPDATE {job} j
SET attempts = greatest(j.attempts - 1, 0), lease_token = NULL, lease_until = NULL, worker = NULL,
    not_before = now()
FROM (
    SELECT l.image_id
    FROM unnest(%(ids)s, %(revisions)s::bigint[], %(tokens)s::uuid[]) AS c (image_id, revision, token)
    JOIN {job} l ON l.image_id = c.image_id AND l.revision = c.revision AND l.lease_token = c.token
    WHERE l.state = 'pending'
    ORDER BY l.image_id
    FOR NO KEY UPDATE OF l
) held
WHERE j.image_id = held.image_id

-- name: seen
INSERT INTO {worker} (worker, host, pid, signature) VALUES (%(worker)s, %(host)s, %(pid)s, %(signature)s)
ON CONFLICT (worker) DO UPDATE SET seen_at = now(), signature = EXCLUDED.signature

-- name: leave
UPDATE {worker} SET ended_at = now() WHERE worker = %(worker)s

-- name: put_up_the_bell
-- Takes effect at once, whatever becomes of this transaction.
SELECT setval('{bell}', (extract(epoch FROM clock_timestamp()) + %(bell_seconds)s)::bigint)

-- name: take_off_the_bell
SELECT setval('{bell}', 0)

-- name: writers
-- Whether transactions are under way that wrote jobs: the users', which may have seen no bell, or other daemons'.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
      AND relation = '{job}'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)

-- name: until_due
-- Seconds until the first job is due, and until the last one is; none when nothing is pending.
SELECT extract(epoch FROM min(j.due) - clock_timestamp())::double precision,
       extract(epoch FROM max(l.due) - clock_timestamp())::double precision
FROM (VALUES (0::smallint), (1::smallint)) AS p (priority)
CROSS JOIN LATERAL (
    SELECT coalesce(d.lease_until, d.not_before) AS due
    FROM {job} d
    WHERE d.state = 'pending' AND d.priority = p.priority
    ORDER BY coalesce(d.lease_until, d.not_before)
    LIMIT 1
) j
CROSS JOIN LATERAL (
    SELECT coalesce(d.lease_until, d.not_before) AS due
    FROM {job} d
    WHERE d.state = 'pending' AND d.priority = p.priority
    ORDER BY coalesce(d.lease_until, d.not_before) DESC
    LIMIT 1
) l

-- name: call_back
-- What is due later than anything is ever put off to, because the server's clock was set back: due now. A lease whose
-- holder lives is renewed by it.
UPDATE {job} j
SET not_before = least(j.not_before, now()), lease_until = CASE WHEN j.lease_until IS NOT NULL THEN now() END
FROM (
    SELECT f.image_id
    FROM (VALUES (0::smallint), (1::smallint)) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT d.image_id
        FROM {job} d
        WHERE d.state = 'pending' AND d.priority = p.priority
          AND coalesce(d.lease_until, d.not_before) > now() + %(seconds)s * interval '1 second'
        ORDER BY coalesce(d.lease_until, d.not_before) DESC
        LIMIT %(limit)s
        FOR NO KEY UPDATE SKIP LOCKED
    ) f
) far
WHERE j.image_id = far.image_id
