"""While PostgreSQL hangs: what needs nothing of it goes on, and only so many wait for it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from itertools import islice

import psycopg2
import requests

from daemon.api.line import MOST_ASKING
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import Tables

TIMEOUT = 60
LARGE = picture(1) + bytes(2 * 1024 * 1024)
"""More than Starlette keeps of an upload in memory where it may choose: the rest goes to a file, in a thread."""


@contextmanager
def hung(dsn: str) -> Iterator[None]:
    """Whoever looks at the images waits until the end of the block."""
    with closing(psycopg2.connect(dsn)) as session:
        session.cursor().execute("LOCK TABLE ecai.tb_image IN ACCESS EXCLUSIVE MODE")
        yield


def first(number: int, of: "list[Future[requests.Response]]") -> list[requests.Response]:
    return [one.result() for one in islice(as_completed(of, timeout=TIMEOUT), number)]


def test_only_so_many_wait_for_it_and_uploads_for_none_of_them(
    daemon: Daemon, empty_database: str, web: Web, tables: Tables
) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1))})
    tables.wait(tables.vectors, "the vector")
    paths = ["/images/1", "/images/1/thumbnail", "/similar/1", "/images/1/vector"]
    more = 8
    with ThreadPoolExecutor(MOST_ASKING + more) as threads:
        with hung(empty_database):
            asked = [
                threads.submit(requests.get, daemon.address + "/images/1", timeout=TIMEOUT)
                for _ in range(MOST_ASKING + more)
            ]
            assert [answer.status_code for answer in first(more, asked)] == [429] * more
            crowded = [requests.get(daemon.address + path, timeout=TIMEOUT) for path in paths]
            crowded.append(requests.post(daemon.address + "/process/all", timeout=TIMEOUT))
            assert [answer.json()["reason"] for answer in crowded] == ["too_busy"] * len(crowded)
            uploaded = requests.post(daemon.address + "/extract/upload", files={"file": LARGE}, timeout=TIMEOUT / 2)
            assert uploaded.status_code == 200, uploaded.text
        assert sorted(one.result().status_code for one in asked) == [200] * MOST_ASKING + [429] * more
    thumbnail = requests.get(daemon.address + "/images/1/thumbnail", timeout=TIMEOUT)
    assert thumbnail.status_code == 200
