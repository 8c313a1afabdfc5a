"""Callers who ask for the same few images at once, in every way there is: all are answered, and no image stays behind.

Leases last for a day, so whatever is left to its lease keeps a caller waiting until his patience ends, as "in_work".
"""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from daemon import wiring
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import Tables, settings

CALLERS = 8
CALLS = 40
A_DAY = 86_400.0
GOOD, GONE, BLOCKED = range(1, 5), 5, 6
IMAGES: tuple[int, ...] = (*GOOD, GONE, BLOCKED)


@pytest.fixture
def daemon(empty_database: str, compiled: Path) -> Iterator[Daemon]:
    """One that leaves nothing to a lease, and is well to the end."""
    defects: list[BaseException] = []
    given = settings(empty_database, compiled, queue={"lease_seconds": A_DAY})
    with wiring.open_daemon(given, allow_untrained=True, on_failure=defects.append) as daemon:
        yield daemon
        assert daemon.health().healthy
    assert defects == []


class Caller:
    """Somebody with a will of his own, the same for the same seed. `reasons` is what he was told of images."""

    def __init__(self, daemon: Daemon, tables: Tables, elsewhere: str, seed: int) -> None:
        self._address, self._tables, self._elsewhere = daemon.address, tables, elsewhere
        self._chance = random.Random(seed)
        self.reasons: set[str] = set()

    def call(self) -> None:
        ways = [self._image, self._image, self._image_elsewhere, self._batch]
        ways += [self._all, self._retry, self._retry_all, self._move, self._lose_a_vector]
        for _ in range(CALLS):
            self._chance.choice(ways)()

    def _one(self) -> int:
        return self._chance.choice(IMAGES)

    def _image(self, **more: str) -> None:
        answer = self._post("/process/image", {"image_id": self._one(), **more})
        self.reasons.add(answer["reason"])

    def _image_elsewhere(self) -> None:
        self._image(image_url=self._elsewhere)

    def _batch(self) -> None:
        ids = self._chance.sample(IMAGES, 3)
        self.reasons |= set(self._post("/process/batch", ids)["reasons"].values())

    def _all(self) -> None:
        self._post("/process/all", {"force_reprocess": self._chance.random() < 0.5})

    def _retry(self) -> None:
        self._post("/retry", {"image_id": self._one()})

    def _retry_all(self) -> None:
        self._post("/retry", {"all": True})

    def _move(self) -> None:
        self._tables.execute("UPDATE ecai.tb_image SET url = url || '?' WHERE id = %s", (self._one(),))

    def _lose_a_vector(self) -> None:
        self._tables.execute("DELETE FROM tb_hsx_img_value WHERE image_id = %s", (self._one(),))

    def _post(self, path: str, body: object) -> Any:
        answer = requests.post(self._address + path, json=body, timeout=100)
        assert answer.status_code in {200, 202} or answer.json()["reason"] == "no_such_job", answer.text
        return answer.json()


def test_whoever_asks_for_an_image_that_others_ask_for_is_answered(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({image: web.add(f"/{image}.jpg", picture(image)) for image in GOOD})
    tables.insert({GONE: web.base + "/gone.jpg", BLOCKED: "http://10.0.0.1/x.jpg"})
    callers = [Caller(daemon, tables, web.base + "/elsewhere.jpg", seed) for seed in range(CALLERS)]

    with ThreadPoolExecutor(CALLERS) as threads:
        for done in [threads.submit(caller.call) for caller in callers]:
            done.result()

    assert "in_work" not in set().union(*(caller.reasons for caller in callers))
    tables.wait(lambda: tables.execute("SELECT FROM vectord.job WHERE state = 'pending'") == [], "no job left")
