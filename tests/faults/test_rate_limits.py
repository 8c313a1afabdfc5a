"""A host that permits so many images and no more: 429 is no failure, and costs no time beyond what the host wants."""

import math
import threading
import time

from tests.faults.gallery import body_of
from tests.faults.scene import Scene
from tests.servers import Request

WINDOW = 2.0
PERMITTED = 24
"""Answers in each window."""
IMAGES = 120
MOST_WINDOWS = math.ceil(IMAGES / PERMITTED) + 2
"""A window begins with the first request after the last one's end: a machine that stands still loses none."""
LONGEST = 60.0
"""Seconds, of which the host takes 8: nobody may doze through windows, either."""


class Permitting:
    """So many answers in each window; beyond that 429 and the seconds until the next one."""

    def __init__(self) -> None:
        self.began = 0.0
        self.refused = 0
        self.windows = 0
        self._answered = 0
        self._ends = 0.0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        wait = self._wait()
        if wait is None:
            body_of(int(request.path.partition(".")[0].removeprefix("/")))(request)
        else:
            request.reply(429, retry_after=math.ceil(wait))

    def _wait(self) -> float | None:
        with self._lock:
            now = time.monotonic()
            self.began = self.began or now
            if now >= self._ends:
                self._ends, self._answered = now + WINDOW, 0
                self.windows += 1
            if self._answered < PERMITTED:
                self._answered += 1
                return None
            self.refused += 1
            return self._ends - now


def test_the_queue_drains_as_fast_as_the_host_permits(scene: Scene) -> None:
    host = Permitting()
    scene.start()
    permitted = (IMAGES / PERMITTED - 1) * WINDOW
    with scene.gallery.failing(host), scene.fault(9, f"429 beyond {PERMITTED} images in {WINDOW:g} s") as fault:
        scene.insert(range(IMAGES))
        scene.wait_for_vectors(IMAGES)
        took = time.monotonic() - host.began
        fault.note = f"{took / permitted:.2f} of the time that the host permits; {host.refused} answers were 429"
    assert host.windows <= MOST_WINDOWS
    assert took < LONGEST
    assert scene.number("FROM vectord.job") == 0
