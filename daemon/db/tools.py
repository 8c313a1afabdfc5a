"""What the commands work with, beside a daemon that may or may not run."""

from daemon.db import schema
from daemon.db.generation import Generations
from daemon.db.index import VectorIndex
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.db.retry import Retries
from daemon.db.similar import Similar


class Tools:
    """The database for a command. Raises `DatabaseError` with the remedy where nobody has made the schema yet."""

    def __init__(self, pool: Pool, names: Names, *, notify: bool = True) -> None:
        schema.require(pool, names)
        self.reports = Reports(pool, names)
        self.retries = Retries(pool, names, notify=notify)
        self.similar = Similar(pool, names)
        self.generations = Generations(pool, names, notify=notify)
        self._pool = pool
        self._names = names

    def index(self, *, memory_mb: int | None) -> VectorIndex:
        """The HNSW index, to be built with this much memory; None leaves it to the server's setting."""
        return VectorIndex(self._pool, self._names, memory_mb=memory_mb)
