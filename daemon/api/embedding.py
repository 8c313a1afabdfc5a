"""A picture to a vector, for whoever waits: through the line, the loaders and the batches."""

import asyncio
from collections.abc import Callable

from fastapi import Request

from daemon.api.patience import unless_gone
from daemon.api.problems import CallerGoneError, refused
from daemon.api.services import Callers, House
from daemon.api.upload import read_upload
from daemon.errors import NotServingError, Reason
from daemon.records import Answer, Asked, Embedded, Failure, Vectors

WEB = ("http://", "https://")


def request_id(request: Request) -> str:
    """The request's number, as in its answer's X-Request-ID and in the log."""
    return str(request.state.request)


async def embed_url(house: House, request: Request, url: str) -> Vectors:
    """The vector of what lies at a URL. Raises `Problem` with the reason for none."""
    require_web(url)
    await unless_gone(request, house.line.enter())
    return _vector(await _embed(house, request, location=url.strip()))


async def embed_upload(house: House, request: Request) -> tuple[Vectors, str | None]:
    """The vector of the uploaded file, and the id that came with it. Raises `Problem` with the reason for none.

    The line is for who has all of it there: a body may take its time to come, and would keep a place from others.
    """
    data, image_id = await read_upload(request)
    await unless_gone(request, house.line.enter())
    return _vector(await _embed(house, request, data=data)), image_id


def require_web(url: str) -> None:
    """Callers may have fetched what is on the web. Files and stores are for the table's locations alone."""
    if not url.strip().lower().startswith(WEB):
        raise refused(Reason.UNSUPPORTED_SCHEME)


async def _embed(house: House, request: Request, *, location: str = "", data: bytes | None = None) -> Answer:
    number = request_id(request)
    return await ask(house, request, lambda callers: callers.ask(number, location=location, data=data))


async def ask(house: House, request: Request, begin: Callable[[Callers], Asked]) -> Answer:
    """What comes of it. For who has a place in the line; gives it up when the pipeline is done with the picture."""
    try:
        callers = house.services.callers
        asked = begin(callers)
    except BaseException:
        house.line.leave()
        raise
    asked.result.add_done_callback(lambda _: house.line.leave())
    try:
        return await unless_gone(request, asyncio.shield(asyncio.wrap_future(asked.result)))
    except (CallerGoneError, asyncio.CancelledError):
        callers.withdraw(asked)
        raise


def _vector(result: Answer) -> Vectors:
    match result:
        case Embedded():
            return result.vector
        case Failure():
            raise refused(result.reason, result.retry_after)
        case _:
            raise NotServingError("the daemon is stopping")
