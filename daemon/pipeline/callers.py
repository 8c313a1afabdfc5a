"""callers: those who wait for the end of a claim, which are HTTP requests.

A picture that no image stands for goes through the same loaders and batches as any other, ahead of the queue, and ends
here instead of in store. An image that somebody asks for ends in store like all of them, and here it is told.
"""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock
from typing import Protocol, TypeVar
from uuid import UUID, uuid4

from daemon.errors import NotServingError
from daemon.events import Emit, Extracted
from daemon.pipeline.channel import Sink
from daemon.pipeline.inflight import Inflight
from daemon.records import Answer, Asked, Claim, ImageId, Outcome, Released, Result, StoredBytes, Thumbnail, Told

T = TypeVar("T")


class Loaders(Protocol):
    """The loader processes: `loader.pool.LoaderPool`."""

    def free(self, *, urgent: bool = False) -> int: ...
    def submit(self, claim: Claim, *, data: bytes | None = None, thumbnail: bool = False) -> None: ...
    def withdraw(self, claim: Claim) -> None: ...


class Answers(Sink[Answer]):
    """Who waits for which claim. It stands before the channel `results` and takes out what is not for store."""

    def __init__(self, results: Sink[Result], emit: Emit) -> None:
        self._results = results
        self._emit = emit
        self._asked: dict[UUID, Asked] = {}
        self._followed: dict[UUID, tuple[Claim, Future[Told]]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._asked) + len(self._followed)

    def expect(self, claim: Claim, *, thumbnail: bool = False) -> Asked:
        asked = Asked(claim=claim, result=Future(), thumbnail=thumbnail)
        with self._lock:
            self._asked[claim.token] = asked
        return asked

    def forget(self, asked: Asked) -> None:
        """It was not begun, so nothing will come of it."""
        with self._lock:
            self._asked.pop(asked.claim.token, None)

    def follow(self, claim: Claim) -> Future[Told]:
        told: Future[Told] = Future()
        with self._lock:
            self._followed[claim.token] = (claim, told)
        return told

    def put(self, item: Answer) -> None:
        """A result: to whoever asked for it, else on to store. Nobody but callers has thumbnails made."""
        with self._lock:
            asked = self._asked.pop(item.claim.token, None)
        if asked is not None:
            self._tell(asked, item)
        elif not isinstance(item, Thumbnail):
            self._results.put(item)

    def tell(self, outcome: Outcome, took_effect: bool) -> None:  # noqa: FBT001 - it is `store.Tell`
        """An outcome was written."""
        with self._lock:
            followed = self._followed.pop(outcome.claim.token, None)
        if followed is not None:
            _answer(followed[1], Told(outcome=outcome, took_effect=took_effect))

    def _tell(self, asked: Asked, item: Answer) -> None:
        if not asked.thumbnail and not isinstance(item, Thumbnail):
            self._emit(Extracted(result=item))
        _answer(asked.result, item)

    def close(self) -> None:
        """Nothing more comes: whoever still waits hears that."""
        with self._lock:
            asked, followed = list(self._asked.values()), list(self._followed.values())
            self._asked.clear()
            self._followed.clear()
        for one in asked:
            _answer(one.result, Released(claim=one.claim))
        for claim, told in followed:
            _answer(told, Told(outcome=Released(claim=claim), took_effect=False))


class Callers:
    """What the API asks of the pipeline. As many claims of callers at a time as there are urgent slots."""

    def __init__(self, loaders: Loaders, inflight: Inflight, answers: Answers) -> None:
        self._loaders = loaders
        self._inflight = inflight
        self._answers = answers
        self._refusing = False

    def ask(self, request: str, *, location: str = "", data: bytes | None = None) -> Asked:
        """Has a picture embedded, from a location or from its bytes, for the request with this id. Stores nothing.

        Raises `NotServingError` while nothing can be taken.
        """
        self._require_room()
        claim = Claim(image_id=request, revision=0, token=uuid4(), location=location, request=request)
        return self._submit(self._answers.expect(claim), data=data)

    def look(self, request: str, image_id: ImageId, location: str | StoredBytes) -> Asked:
        """Has an image's picture made into a thumbnail. Raises `NotServingError` while nothing can be taken."""
        self._require_room()
        claim = Claim(image_id=image_id, revision=0, token=uuid4(), location=location, request=request)
        return self._submit(self._answers.expect(claim, thumbnail=True))

    def withdraw(self, asked: Asked) -> None:
        """The caller has gone: what has not begun is not begun. Its end comes all the same, as `Released`."""
        self._loaders.withdraw(asked.claim)

    def work_on(self, claim: Claim) -> Future[Told]:
        """Has an image's claim worked on ahead of the queue. Raises `NotServingError`, and then has not taken it."""
        self._require_room()
        told = self._answers.follow(claim)
        self._inflight.add([claim])
        self._loaders.submit(claim)
        return told

    def put(self, result: Result) -> None:
        """A result that comes from the end of the pipeline instead of its middle."""
        self._answers.put(result)

    def refuse(self) -> None:
        """From now on nothing is taken: the daemon is to end."""
        self._refusing = True

    def close(self) -> None:
        """Nothing more comes."""
        self._answers.close()

    def _submit(self, asked: Asked, *, data: bytes | None = None) -> Asked:
        try:
            self._loaders.submit(asked.claim, data=data, thumbnail=asked.thumbnail)
        except BaseException:
            self._answers.forget(asked)
            raise
        return asked

    def _require_room(self) -> None:
        if self._refusing:
            raise NotServingError("the daemon is stopping")
        if not self._loaders.free(urgent=True):
            raise NotServingError("no loader can be started; the daemon's log says why")


def _answer(future: "Future[T]", value: T) -> None:
    with suppress(InvalidStateError):  # Whoever waited has given up.
        future.set_result(value)
