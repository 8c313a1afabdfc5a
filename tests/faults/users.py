"""The application: writes, moves and deletes images at random, a few in each transaction."""

import random
from contextlib import closing

import psycopg2
from psycopg2.extensions import cursor

from tests.faults.gallery import GONE, PICTURES, Gallery


class Users:
    """`gone` is the share of locations that lead nowhere."""

    def __init__(self, dsn: str, gallery: Gallery, seed: int, gone: float = 0.1) -> None:
        self._dsn = dsn
        self._gallery = gallery
        self._random = random.Random(seed)
        self._gone = gone
        self._images: list[int] = []
        self._next = 0

    def act(self, times: int = 1) -> None:
        """So many transactions."""
        with closing(psycopg2.connect(self._dsn)) as session:
            for _ in range(times):
                with session, session.cursor() as cursor:
                    for _ in range(self._random.randint(1, 8)):
                        self._change(cursor)

    def _change(self, cursor: cursor) -> None:
        deed = self._random.random()
        if deed < 0.6 or not self._images:
            # Ids have gaps, as those of sequences do.
            self._next += self._random.randint(1, 5)
            self._images.append(self._next)
            cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (self._next, self._location()))
        elif deed < 0.85:
            image = self._random.choice(self._images)
            cursor.execute("UPDATE ecai.tb_image SET url = %s WHERE id = %s", (self._location(), image))
        else:
            image = self._images.pop(self._random.randrange(len(self._images)))
            cursor.execute("DELETE FROM ecai.tb_image WHERE id = %s", (image,))

    def _location(self) -> str:
        path = GONE if self._random.random() < self._gone else f"{self._random.randrange(PICTURES)}.jpg"
        # The query makes every location new, so that each change counts as one.
        return f"{self._gallery.base}/{path}?{self._random.random()}"
