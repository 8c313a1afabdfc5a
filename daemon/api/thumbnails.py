"""Thumbnails: made by a loader under the rules of any fetch, and kept for a while."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from fastapi import Request

from daemon.api.embedding import ask, request_id
from daemon.api.patience import unless_gone
from daemon.api.problems import refused
from daemon.api.processing import no_such_image
from daemon.api.services import House
from daemon.errors import NotServingError
from daemon.records import Failure, ImageId, StoredBytes, Thumbnail

MOST_BYTES = 32 * 1024 * 1024
"""Of all thumbnails that are kept: some two thousand."""
KEPT_SECONDS = 600.0
"""What lies at a location may change without a word."""

Key = tuple[ImageId, str | StoredBytes]


class Shelf:
    """The thumbnails asked for last, by image and location. For one event loop."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, now: Callable[[], float] = monotonic) -> None:
        self.bytes = 0
        self._most_bytes = most_bytes
        self._now = now
        self._kept: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        made, jpeg = self._kept.get(key, (0.0, b""))
        if not jpeg or self._now() - made > KEPT_SECONDS:
            return None
        self._kept.move_to_end(key)
        return jpeg

    def put(self, key: Key, jpeg: bytes) -> None:
        _, before = self._kept.pop(key, (0.0, b""))
        self._kept[key] = self._now(), jpeg
        self.bytes += len(jpeg) - len(before)
        while self.bytes > self._most_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.bytes -= len(dropped)


class Thumbnails:
    """Looks them up, or has them made."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._shelf = Shelf()

    async def of(self, request: Request, image_id: str) -> bytes:
        """An image's thumbnail, a JPEG. Raises `Problem`: 404 without such an image, else the reason for none."""
        place = await self._house.desk.ask(lambda: self._house.services.whereabouts.of(image_id))
        if place is None:
            raise no_such_image(image_id)
        if jpeg := self._shelf.get(place):
            return jpeg
        await unless_gone(request, self._house.line.enter())
        number = request_id(request)
        answer = await ask(self._house, request, lambda callers: callers.look(number, *place))
        match answer:
            case Thumbnail(jpeg=jpeg):
                self._shelf.put(place, jpeg)
                return jpeg
            case Failure():
                raise refused(answer.reason, answer.retry_after)
            case _:
                raise NotServingError("the daemon is stopping")
