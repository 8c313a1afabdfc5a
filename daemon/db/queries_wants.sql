-- An image that somebody waits for (daemon/db/wants.py).

-- name: begin
SELECT set_config('lock_timeout', %(lock_timeout)s, true)

-- name: look
SELECT s.{source_id}, t.{target_vector} IS NOT NULL, t.{target_version}
FROM {source} s LEFT JOIN {target} t ON t.{target_id} = s.{source_id} WHERE s.{source_id} = %(id)s

-- name: in_work
-- To be asked first, as `lease` locks the job even where it changes nothing, and store passes over what is locked.
SELECT EXISTS (SELECT FROM {job} WHERE image_id = %(id)s AND lease_until > now())

-- name: lease
-- Whatever became of the job before, somebody asks for it now; only a daemon that works on it keeps it.
INSERT INTO {job} AS j (image_id, attempts, lease_token, lease_until, worker)
VALUES (%(id)s, 1, %(token)s, now() + %(lease_seconds)s * interval '1 second', %(worker)s)
ON CONFLICT (image_id) DO UPDATE
SET state = 'pending', priority = 0, lease_token = EXCLUDED.lease_token, lease_until = EXCLUDED.lease_until,
    worker = EXCLUDED.worker, failed_at = NULL,
    attempts = CASE j.state WHEN 'dead' THEN 1 ELSE j.attempts + 1 END,
    suspect = j.suspect AND j.state = 'pending',
    enqueued_at = CASE j.state WHEN 'dead' THEN now() ELSE j.enqueued_at END
WHERE coalesce(j.lease_until <= now(), true)
RETURNING revision, attempts, suspect, enqueued_at
