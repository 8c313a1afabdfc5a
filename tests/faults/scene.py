"""A scene: a database, pictures, daemons that may be hurt, and the verdict when a fault is over."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from tests.faults.daemons import Running
from tests.faults.gallery import PICTURES, Gallery
from tests.faults.report import Row
from tests.faults.verdict import Right, apart, faults, unsettled
from tests.whole import Tables

UNBOUND = "-c statement_timeout=0 -c default_transaction_read_only=off"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s"
WITHIN = 120.0
"""Seconds of patience with a recovery. No claim about speed: that is what the report tells."""

FAST = {
    "VECTORD_QUEUE__LEASE_SECONDS": "3",
    "VECTORD_QUEUE__POLL_SECONDS": "0.5",
    "VECTORD_QUEUE__RETRY_BASE_SECONDS": "0.2",
    "VECTORD_SWEEP__INTERVAL_SECONDS": "1",
}


@dataclass
class Fault:
    """What went wrong, for the report. `note` tells what else was seen."""

    number: int
    what: str
    note: str = ""


class Scene:
    """A database of its own with vectord's schema, and any number of daemons with short leases and pauses.

    `rights` gives the right vectors under these variables; `tell` takes the row of the report.
    """

    def __init__(
        self,
        dsn: str,
        variables: Mapping[str, str],
        gallery: Gallery,
        rights: Callable[[Mapping[str, str]], Right],
        tell: Callable[[Row], None],
        stack: ExitStack,
    ) -> None:
        self.dsn = dsn
        self.variables = {**variables, "VECTORD_DATABASE__DSN": dsn, **FAST}
        self.gallery = gallery
        self.tables = Tables(dsn)
        self.operator = Tables(psycopg2.extensions.make_dsn(dsn, options=UNBOUND))
        """The same for statements that what is set for the database must not hinder."""
        self.daemons: list[Running] = []
        self._rights = rights
        self._tell = tell
        self._stack = stack

    def launch(self, entry: tuple[str, ...] = ("-m", "daemon"), **variables: str) -> Running:
        """A daemon that starts, with these variables besides."""
        daemon = self._stack.enter_context(Running(self.variables | variables, entry))
        self.daemons.append(daemon)
        return daemon

    def start(self, entry: tuple[str, ...] = ("-m", "daemon"), **variables: str) -> Running:
        """A daemon that works."""
        return self.launch(entry, **variables).ready()

    def insert(self, images: Iterable[int], path: str = "") -> None:
        """The application writes images in one transaction, of good pictures where no path is given."""
        self.write({image: self.gallery.location(image, path) for image in images})

    def write(self, locations: Mapping[int, str]) -> None:
        """The application writes images with these locations, or moves them there, in one transaction."""
        with psycopg2.connect(self.dsn) as session, session.cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO ecai.tb_image (id, url) VALUES %s ON CONFLICT (id) DO UPDATE SET url = EXCLUDED.url",
                list(locations.items()),
            )
        session.close()

    def move(self, images: Iterable[int], by: int = 1) -> None:
        """The application gives each of these images the location of another picture."""
        self.write(
            {image: f"{self.gallery.base}/{(image + by) % PICTURES}.jpg?{image}-{by}" for image in images},
        )

    def wait_for_vectors(self, count: int, seconds: float = WITHIN) -> None:
        """Until so many vectors are there."""
        self.wait(lambda: self.number("FROM tb_hsx_img_value") >= count, f"{count} vectors", seconds)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = WITHIN) -> None:
        """Until the condition, which vectors and jobs alone may decide, holds."""
        self.tables.wait(condition, what, seconds)

    @property
    def database(self) -> str:
        """The database's name."""
        return str(psycopg2.extensions.parse_dsn(self.dsn)["dbname"])

    def end_sessions(self, application: str = "vectord%") -> int:
        """Has the server end the daemons' sessions, those with this name; gives how many."""
        return len(self.operator.execute(END_SESSIONS, (self.database, application)))

    def number(self, of: str, parameters: Any = None) -> int:
        """How many rows: `FROM …`."""
        ((number,),) = self.tables.execute(f"SELECT count(*) {of}", parameters)
        return int(number)

    def wrong(self, model: Mapping[str, str] | None = None) -> list[str]:
        """What breaks the rule, image by image."""
        return faults(self.tables, self.gallery, self._rights(model or {}))

    def nearest(self) -> float:
        """How far the two pictures lie apart whose vectors are nearest."""
        return apart(self._rights({}))

    @contextmanager
    def fault(
        self, number: int, what: str, within: float = WITHIN, model: Mapping[str, str] | None = None
    ) -> Iterator[Fault]:
        """While it lasts, something is wrong; then all has to come right by itself, and is told in the report.

        `number` is that of the kind of fault in docs/reliability.md. `model`: variables that decide the right vectors.
        """
        told = Fault(number, what)
        self.gallery.asked.clear()
        yield told
        ended = time.monotonic()
        self.wait(lambda: not unsettled(self.tables), f"all settled after: {what}", within)
        seconds = time.monotonic() - ended
        wrong = self.wrong(model)
        assert not wrong, f"after: {what}: {len(wrong)} are wrong: {wrong[:20]}"
        self._tell(
            Row(
                number=number,
                fault=what,
                images=self.number("FROM ecai.tb_image"),
                twice=self.gallery.twice(),
                seconds=round(seconds, 1),
                note=told.note,
            )
        )
