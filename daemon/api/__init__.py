"""HTTP: probes, metrics, and the REST API. Importing it loads neither TensorFlow nor psycopg2.

    connection ─ record ─ door ─ size ─ route ─ line ─ loaders, batches, tables

`connections` bounds what comes before it is a request; `record` numbers each request, times it and sees to the headers;
`door` keeps strangers out, `limits` bodies that are too large; `routes` are the paths; `line` lets in as many at a time
as there is room for; `services` is what they use of the daemon.
"""
