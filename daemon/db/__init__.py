"""PostgreSQL: the queue of jobs, the table of vectors, and the schema they live in.

`driver` is the one place that imports psycopg2; `names` turns configured names into SQL; `queries.sql` holds every
statement that runs, by name. Everything else here is a class of a few methods over one `pool.Pool`.
"""
