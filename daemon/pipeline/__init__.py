"""The way of the data, one stage per file.

    wake ─ claim ─ load (fetch → decode → resize) ─ batch ─ embed ─ store

`claim`   leases due jobs, as many as there is room for, whenever someone wakes it or a job comes due, and hands them to
          the loaders.
`load`    passes on what comes back from these: pixels, or a failure.
`batch`   decides when the images that wait are enough, or have waited enough. Pure.
`embed`   copies a batch out of shared memory, runs the model over it, and refuses vectors that are not finite.
`store`   decides what becomes of each claim, and writes it. The only writer.
`callers` lets HTTP requests ride along, ahead of the queue, and tells them what came of it.
`single`  takes one picture from load to embed, for a command, where no daemon runs.
`again`   keeps outcomes whose jobs somebody has locked, until they can be written.
`heartbeat` renews the leases of all that is under way.
`runner`  starts them from the end to the front and stops them from the front to the end.

`inflight` holds the claims between claim and store. It bounds them, which is the backpressure: a slow stage fills it,
and then nothing more is claimed. A failure is a value that goes straight to store; an exception that leaves a stage is
a defect, and ends the daemon.
"""
