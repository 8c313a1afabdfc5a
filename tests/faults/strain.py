"""What the soak does to its daemon: an application that writes, callers, a scrape, and a fault every few seconds."""

import os
import random
import signal
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle

from tests.faults.daemons import Running
from tests.faults.usage import children_of
from tests.pictures import picture
from tests.servers import Answer, Request, Server, body, status
from tests.whole import Tables

PICTURES = 48
MOST_IMAGES = 1500
"""Beyond that more are deleted than written, so that the tables, too, stay what they are."""
HOST_AWAY_SECONDS = 3.0
PATIENCE = 60.0
POISON = {"/abort.jpg": b"FAULT:abort", "/page.html": b"<html>no picture</html>", "/exit.jpg": b"FAULT:exit"}


@dataclass
class Site:
    """A database, pictures, and one daemon. While `failing` is set, the pictures' server answers 503."""

    tables: Tables
    web: Server
    daemon: Running
    address: str
    failing: threading.Event
    stop: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)

    def every(self, seconds: float, act: Callable[[], None]) -> None:
        """Does it again and again, until the soak stops."""
        while not self.stop.wait(seconds):
            act()


class Users:
    """The application: a few changes in each act, of ids above `first`."""

    def __init__(self, site: Site, *, seed: int, first: int = 0) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._ids: list[int] = []
        self._next = first

    def act(self) -> None:
        """Writes mostly while there are few images, and deletes mostly while there are many."""
        crowded = len(self._ids) > MOST_IMAGES
        for _ in range(self._random.randint(1, 6)):
            deed = self._random.random()
            if deed < (0.2 if crowded else 0.6) or not self._ids:
                self.write(1)
            elif deed < 0.7:
                self._move(self._random.choice(self._ids))
            else:
                self._delete([self._ids.pop(self._random.randrange(len(self._ids)))])

    def write(self, number: int) -> None:
        """So many new images in one statement."""
        new = range(self._next + 1, self._next + 1 + number)
        self._next += number
        values = ",".join(f"({image}, '{self._location()}')" for image in new)
        self._site.tables.execute(f"INSERT INTO ecai.tb_image (id, url) VALUES {values}")
        self._ids += new
        self._site.done["images written"] += number

    def replace_all(self, number: int) -> None:
        """All that are there go, and so many new ones come."""
        gone, self._ids = self._ids, []
        self._delete(gone)
        self.write(number)

    def _move(self, image: int) -> None:
        self._site.tables.execute("UPDATE ecai.tb_image SET url = %s WHERE id = %s", (self._location(), image))
        self._site.done["images moved"] += 1

    def _delete(self, images: list[int]) -> None:
        self._site.tables.execute("DELETE FROM ecai.tb_image WHERE id = ANY(%s)", (images,))
        self._site.done["images deleted"] += len(images)

    def _location(self) -> str:
        draw = self._random.random()
        good = f"/{self._random.randrange(PICTURES)}.jpg"
        path = good if draw < 0.95 else "/gone" if draw < 0.99 else self._random.choice(list(POISON))
        return f"{self._site.web.url}{path}?{self._random.random()}"


class Faults:
    """One after the other, round and round."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._hasty = Users(site, seed=8, first=10**9)
        # The burst comes first: it is what fills the shared memory, once for all.
        self._deeds = cycle(
            (self.bursts_of_300, self.connections_cut, self.loaders_killed, self.hosts_away, self.listeners_cut)
        )

    def next(self) -> None:
        deed = next(self._deeds)
        deed()
        self._site.done[deed.__name__.replace("_", " ")] += 1

    def connections_cut(self) -> None:
        self._terminate("vectord%")

    def listeners_cut(self) -> None:
        self._terminate("vectord listener")

    def loaders_killed(self) -> None:
        for pid in children_of(self._site.daemon.pid)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def hosts_away(self) -> None:
        self._site.failing.set()
        self._site.stop.wait(HOST_AWAY_SECONDS)
        self._site.failing.clear()

    def bursts_of_300(self) -> None:
        self._hasty.replace_all(300)

    def _terminate(self, name: str) -> None:
        self._site.tables.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE %s",
            (name,),
        )


def call(site: Site) -> None:
    """A caller's vector. That the host fails just now is part of the soak; that nobody answers is not."""
    query = urllib.parse.urlencode({"image_url": f"{site.web.url}/1.jpg"})
    asked = urllib.request.Request(f"{site.address}/extract/url?{query}", method="POST")
    try:
        urllib.request.urlopen(asked, timeout=PATIENCE).close()
        site.done["vectors for callers"] += 1
    except urllib.error.HTTPError as answer:
        with answer:
            site.done[f"callers told {answer.code}"] += 1


def scrape(site: Site) -> None:
    """As Prometheus does it."""
    urllib.request.urlopen(f"{site.address}/metrics", timeout=PATIENCE).close()
    site.done["scrapes"] += 1


def answers(failing: threading.Event) -> dict[str, Answer]:
    """Numbered pictures, poison, and 503 for all of them while the host fails."""
    lying = {f"/{n}.jpg": body(picture(n, (320, 240))) for n in range(PICTURES)}
    lying |= {path: body(content) for path, content in POISON.items()}

    def answer(request: Request) -> None:
        found = status(503) if failing.is_set() else lying.get(request.path.partition("?")[0], status(404))
        with suppress(ConnectionError):  # A loader was killed while it read.
            found(request)

    return {"*": answer}
