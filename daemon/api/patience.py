"""Waiting for something only as long as the caller does."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from daemon.api.problems import CallerGoneError

T = TypeVar("T")


async def unless_gone(request: Request, awaited: Awaitable[T]) -> T:
    """What is awaited, while the request's body is read. Raises `CallerGoneError` when the caller hangs up first, and
    `Problem` when there is something wrong with the body.

    What is awaited is then cancelled; a future of another thread should be shielded.
    """
    work, gone = asyncio.ensure_future(awaited), asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        gone.result()
        raise CallerGoneError
    finally:
        work.cancel()
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
