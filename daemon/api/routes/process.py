"""Images of the table, worked on now: one, several, or all."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from daemon.api.inputs import MOST_IDS, ImageIdText, ProcessAll, ProcessImage
from daemon.api.line import Seats
from daemon.api.models import BatchProcessed, Processed, RunAnswer
from daemon.api.patience import unless_gone
from daemon.api.problems import Problem, documented
from daemon.api.processing import Processor
from daemon.api.services import House, Run

LOOK_SECONDS = 0.5
MOST_WAITING = 32
"""Callers who wait for a run, each of whom looks at the database now and then."""


def process_routes(house: House) -> APIRouter:
    """`/process` and `/runs`."""
    router = APIRouter(tags=["process"])
    processor = Processor(house)
    runs, waiting = _Runs(house), Seats(MOST_WAITING, "runs")

    @router.post("/process/image", responses=documented(400, 404, 429))
    async def process_image(request: Request, body: ProcessImage) -> Processed:
        """Gives an image its vector, if it has none. 404 when it is not in the table."""
        return await processor.process(request, body.image_id, body.image_url)

    @router.post("/process/batch", responses=documented(400, 404, 429))
    async def process_batch(
        request: Request, ids: Annotated[list[ImageIdText], Field(max_length=MOST_IDS)]
    ) -> BatchProcessed:
        """Gives several images their vectors and tells which have none. 404 when none of them is in the table."""
        return await processor.process_batch(request, ids)

    @router.post(
        "/process/all",
        status_code=202,
        responses={200: {"model": RunAnswer, "description": "It is done: `wait` was true."}, **documented(400, 429)},
    )
    async def process_all(request: Request, response: Response, body: ProcessAll | None = None) -> RunAnswer:
        """Works on all images, or so many of them, in the background; `wait` answers when all is done."""
        asked = body or ProcessAll()
        if not asked.wait:
            return await runs.begin(asked)
        with waiting.one():
            response.status_code = 200
            return await unless_gone(request, runs.finished((await runs.begin(asked)).run_id))

    @router.get("/runs/{run_id}", responses=documented(404, 429))
    async def get_run(run_id: UUID) -> RunAnswer:
        """How far a run is."""
        return await house.desk.ask(lambda: runs.look(run_id))

    return router


class _Runs:
    """Runs as callers know them."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def begin(self, asked: ProcessAll) -> RunAnswer:
        return await self._house.desk.ask(lambda: self._begin(asked))

    async def finished(self, run_id: UUID) -> RunAnswer:
        # It ends in the database, perhaps by another daemon, and nobody calls.
        while not (seen := await self._house.desk.look(lambda: self.look(run_id))).done:  # noqa: ASYNC110 - as said
            await asyncio.sleep(LOOK_SECONDS)
        return seen

    def _begin(self, asked: ProcessAll) -> RunAnswer:
        runs, forced = self._house.services.runs, asked.force_reprocess
        return self.look(runs.ask(limit=asked.limit, skip_processed=asked.skip_processed, forced=forced))

    def look(self, run_id: UUID) -> RunAnswer:
        seen = self._house.services.runs.look(run_id)
        if seen is None:
            raise Problem(404, "no_such_run", f"there is no run {run_id}")
        return RunAnswer(run_id=run_id, **_facts(seen))


def _facts(run: Run) -> dict[str, Any]:
    processed = run.success + run.failed
    state = "done" if run.over else "going on"
    return {
        "done": run.over,
        "total": run.total,
        "processed": processed,
        "success": run.success,
        "failed": run.failed,
        "skipped": run.skipped,
        "failed_ids": list(run.failed_ids),
        "message": f"{state}: {run.success} of {run.total} images have a vector, {run.failed} failed",
    }
