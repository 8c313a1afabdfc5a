-- The part of the triggers that calls the daemons. By now this transaction has written to the jobs, which pg_locks tells
    -- until it ends. A daemon that goes to sleep puts the bell up first and then looks there for such transactions
    -- (JobQueue.seconds_until_due), so one of the two always sees the other. While no daemon is known to sleep, one call
    -- a second is enough, for whoever may listen all the same.
    IF FOUND THEN
        present := date_part('epoch', clock_timestamp());
        -- Not SELECT: an expression of functions alone costs a tenth of a query.
        bell := coalesce(pg_sequence_last_value('{bell}'), 0);
        IF bell > present THEN
            NOTIFY {channel};
        ELSIF bell > 0 OR present >= 1 - bell THEN
            PERFORM setval('{bell}', - present::bigint);
            NOTIFY {channel};
        END IF;
    END IF;
