"""A backfill on a cluster: every image that has no vector, worked on by Ray Data.

    shard ─ cut into units ─ claim ─ load (fetch → decode → resize) ─ embed ─ store

    shards and units   ranges of ids, read by primary key (`db.shards`)
    ledger             the few processes that talk to the database: claims, leases, outcomes
    loading            one loader with all its limits, a unit in, a parcel of pixels out
    embedding          one engine, a parcel in, what became of its images out
    crew               how many of each a cluster has room for
    cluster, flow      what knows Ray: joining a cluster and leaving it; stages, backpressure, workers that die
    run                legs of many units, until no shard is open

Nothing is done here that the daemon does: claims are jobs like any others, so a daemon beside it leaves them alone, the
store is fenced, and what fails becomes a dead or waiting job that the daemons own. A worker that dies loses its leases.
"""
