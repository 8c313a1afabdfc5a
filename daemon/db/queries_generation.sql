-- The generation, the model that counts, and what every instance left behind. See daemon/reprocess.py for the rules.

-- name: lock
-- Starts and raises happen one after the other. Held to the end of the transaction, so it works behind PgBouncer too.
SELECT pg_advisory_xact_lock(hashtextextended(%(lock)s, 0))

-- name: present
SELECT (SELECT value FROM {setting} WHERE key = 'model'),
       coalesce((SELECT generation FROM {reprocess} ORDER BY id DESC LIMIT 1), 0)

-- name: facts
-- The mark of this instance, and whether: a daemon with the model that counts lives, or ended so lately that its machine
-- may be rebooting; a reprocess runs; the tag is known.
SELECT (SELECT value FROM {setting} WHERE key = %(instance)s),
       EXISTS (SELECT FROM {worker} w JOIN {setting} s ON s.key = 'model' AND starts_with(w.signature, s.value || ':g')
               WHERE w.seen_at > now() - make_interval(secs => %(alive_seconds)s)),
       EXISTS (SELECT FROM {reprocess} WHERE ended_at IS NULL),
       EXISTS (SELECT FROM {reprocess} WHERE tag = %(mode)s)

-- name: forget_the_gone
DELETE FROM {worker} WHERE seen_at < now() - make_interval(secs => %(seconds)s)

-- name: keep
INSERT INTO {setting} AS s (key, value) VALUES (%(key)s, %(value)s)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, changed_at = now() WHERE s.value <> EXCLUDED.value

-- name: supersede
-- What ran before has no end of its own any more: the new walk covers it.
UPDATE {reprocess} SET walked_at = coalesce(walked_at, now()), ended_at = now() WHERE ended_at IS NULL

-- name: begin
INSERT INTO {reprocess} (generation, cause, forced, tag) VALUES (%(generation)s, %(cause)s, %(forced)s, %(tag)s)

-- name: restart_cycle
-- Waits for a tick of the sweep that runs just now.
-- What is there by now is not new, but part of the walk.
UPDATE {sweep} SET cursor_id = NULL, cycle_started_at = now(), cycle_looked = 0, cycle_found = 0,
    highest_id = (SELECT s.{source_id} FROM {source} s WHERE s.{source_id} IS NOT NULL ORDER BY s.{source_id} DESC LIMIT 1)

-- name: notify
SELECT pg_notify(%(channel)s, %(payload)s)
