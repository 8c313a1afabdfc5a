-- The part of the triggers that calls the daemons. By now this transaction has written to the jobs, which pg_locks tells
    -- until it ends. A daemon that goes to sleep puts the bell up first and then looks there for such transactions
    -- (JobQueue.seconds_until_due), so one of the two always sees the other. While no daemon is known to sleep, one call
    -- a second is enough, for whoever may listen all the same.
    -- Not SELECT: an expression of functions alone costs a tenth of a query. And as few expressions as can be on the way
    -- that most statements take.
    bell := coalesce(pg_catalog.pg_sequence_last_value('{bell}'), 0);
    IF FOUND AND (bell OPERATOR(pg_catalog.>) 0 OR pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
                  OPERATOR(pg_catalog.>=) (1 OPERATOR(pg_catalog.-) bell)) THEN
        present := pg_catalog.date_part('epoch', pg_catalog.clock_timestamp());
        IF bell OPERATOR(pg_catalog.<=) present THEN
            PERFORM pg_catalog.setval('{bell}', OPERATOR(pg_catalog.-) present::bigint);
        END IF;
        NOTIFY {channel};
    END IF;
