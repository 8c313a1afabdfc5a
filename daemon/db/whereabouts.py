"""Where an image's picture lies, for those who want to look at it."""

from pathlib import Path
from typing import NamedTuple

from daemon.db.driver import named_ids, text_of
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.records import ImageId, StoredBytes

QUERIES = Path(__file__).with_name("queries_reports.sql")


class Place(NamedTuple):
    """An image's id as the table has it, and its location with whatever credentials are in it."""

    image_id: ImageId
    location: str | StoredBytes


class Whereabouts:
    """Raises `DatabaseUnavailableError` and `DatabaseError`; an impossible id, `ImpossibleIdError`."""

    def __init__(self, pool: Pool, names: Names) -> None:
        self._pool = pool
        self._queries = load_queries(names, QUERIES)

    def of(self, image_id: ImageId) -> Place | None:
        """None where there is no such image. The id may be given as text."""
        with named_ids(), self._pool.transaction() as cursor:
            cursor.execute(self._queries["whereabouts"], {"id": str(image_id)})
            if (row := cursor.fetchone()) is None:
                return None
            found, kept, size = row
            if kept is None:
                return Place(found, "" if size is None else StoredBytes(size=size))
            return Place(found, text_of(kept, cursor))
