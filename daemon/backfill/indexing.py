"""The vector index during a backfill: dropped before, since it takes twenty times a vector's cost, and built after."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from rich.console import Console

from daemon.backfill.legs import Stop
from daemon.db.backfill import SpanJobs
from daemon.db.index import VectorIndex
from daemon.db.shards import Shards
from daemon.telemetry.progress import Reporter

NO_INDEX = "there is no vector index now: `python -m daemon index --build` makes it, or the same command at its end"
PAGE = 64
"""Open shards read at a time."""


def anything_missing(shards: Shards, jobs: SpanJobs, stop: Stop) -> bool:
    """Whether an open shard has an image to make: looks until it finds one, or somebody asks to stop."""
    above = -1
    while found := shards.open(PAGE, above):
        for shard in found:
            if stop.wait(0):
                return False
            if jobs.left(shard.span, 1):
                return True
        above = found[-1].number
    return False


@contextmanager
def without_index(index: VectorIndex, stop: Stop, console: Console) -> Iterator[None]:
    """Builds it at the end, unless somebody asks to stop; says so where it ends without one, by a fault too."""
    if stop.wait(0):
        yield
        return
    index.drop()
    built = False
    try:
        yield
        built = _build(index, stop, console)
    finally:
        if not built:
            console.print(NO_INDEX, style="yellow", soft_wrap=True)


def _build(index: VectorIndex, stop: Stop, console: Console) -> bool:
    """Whether it is there. A build that nobody listens to any more is broken off, and cleared away."""
    with Reporter(console, what="starting") as reporter, closing(index.build()) as building:
        while not stop.wait(0):
            if (seen := next(building, None)) is None:
                return True
            reporter.show(seen.done, total=seen.total, what=seen.phase)
    return False
