"""Images of the table, worked on at once because a caller waits for them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import cast

from fastapi import Request

from daemon.api.embedding import request_id, require_web
from daemon.api.models import BatchProcessed, Processed
from daemon.api.patience import unless_gone
from daemon.api.problems import Problem
from daemon.api.services import House, Services, Wanted
from daemon.db.findings import Why, explain
from daemon.errors import NotServingError
from daemon.records import Claim, Dead, Released, Retry, Stored, Told

LOOK_SECONDS = 0.25
"""Between two looks at an image that another daemon works on: nobody calls when that is done."""
LOOKS_AT_ONCE = 1
"""However many callers look, there is a connection left for those who do something."""
PATIENCE_SECONDS = 55.0
"""For such an image. A fetch and a decode may take 50 s together by default, and many proxies wait for 60 s."""
BATCH_SHARE = 2
"""One call's batch takes half of the places at most, so that others get on meanwhile."""


class Processor:
    """`process` for one image, `process_batch` for several."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def process(self, request: Request, image_id: str, image_url: str | None) -> Processed:
        """Raises `Problem`: 404 where there is no such image, 422 for a URL that callers may not have fetched."""
        if image_url is not None:
            require_web(image_url)
        return await unless_gone(request, self._process(request_id(request), image_id, image_url))

    async def process_batch(self, request: Request, ids: Sequence[str]) -> BatchProcessed:
        """Each image once, however often it is named. Raises `Problem` (404) where none of them is there."""
        if not ids:
            return BatchProcessed(total=0, success=0, failed=0, failed_ids=[], reasons={})
        found = await unless_gone(request, self._all(request_id(request), list(dict.fromkeys(ids))))
        if all(one.reason == "no_such_image" for one in found):
            raise no_such_image(*(one.image_id for one in found))
        failed = {one.image_id: one.reason or "" for one in found if not one.success}
        mentions = Counter(ids)
        count = sum(mentions[image_id] for image_id in failed)
        return BatchProcessed(
            total=len(ids),
            success=len(ids) - count,
            failed=count,
            failed_ids=[image_id for image_id in ids if image_id in failed],
            reasons=failed,
        )

    async def _all(self, request: str, ids: Sequence[str]) -> Sequence[Processed]:
        some = asyncio.Semaphore(max(1, self._house.line.places // BATCH_SHARE))

        async def one(image_id: str) -> Processed:
            async with some:
                try:
                    return await self._process(request, image_id, None)
                except Problem as problem:
                    if problem.status_code != 404:
                        raise
                    return _failed(image_id, "no_such_image", problem.detail)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(image_id)) for image_id in ids]
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _process(self, request: str, image_id: str, image_url: str | None) -> Processed:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            begun = await self._begun(request, image_id, image_url or "")
            if isinstance(begun, Future):
                told = await asyncio.shield(asyncio.wrap_future(begun))
                return _outcome(image_id, told, self._house.services.dimension)
            if found := await self._unleased(image_id, begun.name, deadline):
                return found
            await asyncio.sleep(LOOK_SECONDS)

    async def _begun(self, request: str, image_id: str, location: str) -> "Future[Told] | Wanted":
        await self._house.line.enter()
        # Shielded: an image that was leased must be worked on, whoever has gone meanwhile.
        begin = partial(self._begin, request, image_id, location)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, begin))

    def _begin(self, request: str, image_id: str, location: str) -> "Future[Told] | Wanted":
        """In a thread: leases the image and hands it on. It gives up the place in the line, now or when all is done."""
        line = self._house.line
        try:
            services = self._house.services
            wanted = services.wants.want(image_id, request=request, location=location)
            told = _work_on(services, wanted) if isinstance(wanted, Claim) else None
        except BaseException:
            line.leave()
            raise
        if told is None:
            line.leave()
            return cast("Wanted", wanted)
        told.add_done_callback(lambda _: line.leave())
        return told

    async def _unleased(self, image_id: str, why: str, deadline: float) -> Processed | None:
        """What is to be said of an image that was not leased; None where it may be asked for again."""
        match why:
            case "NO_SUCH_IMAGE":
                raise no_such_image(image_id)
            case "HAS_VECTOR":
                return self._done(image_id, "it has a vector already")
            case _:
                return await self._others(image_id, deadline)

    async def _others(self, image_id: str, deadline: float) -> Processed | None:
        """What comes of an image that a daemon works on; None where nobody does any more, and it is not done."""
        while asyncio.get_running_loop().time() < deadline:
            async with self._looking:
                seen = await self._house.desk.look(lambda: self._house.services.reports.why(image_id))
            if not seen.exists:
                raise no_such_image(image_id)
            if not (seen.job and seen.job.leased):
                return self._seen(seen)
            await asyncio.sleep(LOOK_SECONDS)
        return _failed(image_id, "in_work", "a daemon still works on it; ask again later")

    def _seen(self, seen: Why) -> Processed | None:
        if seen.job is None:
            return self._done(seen.image_id, "done") if seen.vector else None
        return _failed(seen.image_id, seen.job.reason, seen.verdict) if seen.job.reason else None

    def _done(self, image_id: str, message: str) -> Processed:
        dimension = self._house.services.dimension
        return Processed(success=True, image_id=image_id, dimension=dimension, message=message)


def no_such_image(*image_ids: str) -> Problem:
    """For images that are not in the table."""
    ids = ", ".join(image_ids[:10])
    return Problem(404, "no_such_image", f"not in the table of images: {ids}", image_id=image_ids[0])


def _work_on(services: Services, claim: Claim) -> "Future[Told]":
    try:
        return services.callers.work_on(claim)
    except NotServingError:
        services.wants.release([claim])
        raise


def _outcome(image_id: str, told: Told, dimension: int) -> Processed:
    match told.outcome:
        case _ if not told.took_effect:
            return _failed(image_id, "overtaken", "the image changed meanwhile; it is in the queue again")
        case Stored():
            return Processed(success=True, image_id=image_id, dimension=dimension, message="done")
        case Dead(reason=reason):
            return _failed(image_id, reason.label, reason.explanation)
        case Retry(claim=claim, reason=reason, delay=delay):
            then = "the image's own location is tried next" if claim.lent else f"it is tried again in {delay:.0f} s"
            return _failed(image_id, reason.label, f"{explain(reason.label)}; {then}")
        case Released():
            return _failed(image_id, "not_serving", "the daemon is stopping; the image is in the queue again")


def _failed(image_id: str, reason: str, message: str) -> Processed:
    return Processed(success=False, image_id=image_id, dimension=None, message=message, reason=reason)
