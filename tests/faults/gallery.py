"""The pictures of a scene, over HTTP: what lies where, what becomes of each, and what goes wrong meanwhile."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.pictures import picture
from tests.servers import Answer, Request, serve, status

PICTURES = 12
GONE = "gone.jpg"
PATIENCE = 120.0


class Gallery:
    """Twelve good pictures, one location that is gone, and whatever `add` hangs beside them.

    The query of a location makes it the location of one image: `asked` counts by it. `instead` answers for all of them
    while it is set, and what it answers is not counted.
    """

    def __init__(self) -> None:
        self.base = ""
        self.asked: Counter[str] = Counter()
        """Requests that were answered in earnest, or held back, by path with query."""
        self.right: dict[str, int] = {f"/{number}.jpg": number for number in range(PICTURES)}
        """The picture whose vector is the right one, by path."""
        self.dead: dict[str, str] = {f"/{GONE}": "not_found"}
        """The reason that an image of this path should be dead for."""
        self.instead: Answer | None = None
        self._answers: dict[str, Answer] = {path: body_of(number) for path, number in self.right.items()}
        self.pause = 0.0
        """Seconds that every answer takes: so much load lasts, however fast the machine is."""
        self._lock = threading.Lock()

    def location(self, image: int, path: str = "") -> str:
        """A location of this image's own, of a good picture where no path is given."""
        return f"{self.base}/{path.lstrip('/') or f'{image % PICTURES}.jpg'}?{image}"

    def add(self, path: str, answer: Answer, *, picture: int | None = None, dead: str = "") -> str:
        """Answers so there from now on; images there should get the vector of this picture, or be dead for this."""
        path = f"/{path.lstrip('/')}"
        self._answers[path] = answer
        self.right.pop(path, None)
        self.dead.pop(path, None)
        if picture is not None:
            self.right[path] = picture
        else:
            self.dead[path] = dead
        return self.base + path

    @contextmanager
    def failing(self, answer: Answer) -> Iterator[None]:
        """Everything is answered so while this lasts."""
        self.instead = answer
        try:
            yield
        finally:
            self.instead = None

    @contextmanager
    def holding(self) -> Iterator["Held"]:
        """Requests are heard, and answered only when this is over."""
        held = Held(self.answer)
        with self.failing(held):
            try:
                yield held
            finally:
                held.let_go()

    def twice(self) -> int:
        """Images that were fetched more than once."""
        with self._lock:
            return sum(count > 1 for count in self.asked.values())

    def answer(self, request: Request) -> None:
        """In earnest."""
        with self._lock:
            self.asked[request.path] += 1
        # A daemon that is killed while it reads is part of the tests.
        with suppress(ConnectionError):
            self._answers.get(request.path.partition("?")[0], status(404))(request)

    def _any(self, request: Request) -> None:
        request.stop.wait(self.pause)
        (self.instead or self.answer)(request)

    @contextmanager
    def open(self) -> Iterator["Gallery"]:
        """Serves while this lasts."""
        with serve({"*": self._any}) as server:
            self.base = server.url
            yield self


class Held:
    """Requests that wait for their answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._count = 0
        self._go = False
        self._changed = threading.Condition()

    def __call__(self, request: Request) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._go, PATIENCE)
        self._answer(request)

    def wait_for(self, count: int = 1) -> None:
        """Until so many wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, PATIENCE), f"{self._count} requests came"

    def let_go(self) -> None:
        with self._changed:
            self._go = True
            self._changed.notify_all()


def body_of(number: int) -> Callable[[Request], None]:
    """Answers with this picture."""
    data = picture(number)
    return lambda request: request.reply(body=data)
