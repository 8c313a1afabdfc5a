"""PostgreSQL: the queue of jobs, the table of vectors, and the schema they live in.

`driver` is the one place that imports psycopg2; `names` turns configured names into SQL; the `queries*.sql` hold every
statement that runs, by name, and `parts.sql` what several of them say alike. Everything else here is a class of a few
methods over one `pool.Pool`.
"""
