"""Images of the table, worked on now: one, several, or all."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from daemon.api.models import MOST_IDS, BatchProcessed, ImageIdText, ProcessAll, Processed, ProcessImage, RunAnswer
from daemon.api.patience import unless_gone
from daemon.api.problems import Problem
from daemon.api.processing import Processor
from daemon.api.services import House, Run

LOOK_SECONDS = 0.5


def process_routes(house: House) -> APIRouter:
    """`/process` and `/runs`."""
    router = APIRouter(tags=["process"])
    processor = Processor(house)

    @router.post("/process/image")
    async def process_image(request: Request, body: ProcessImage) -> Processed:
        """Gives an image its vector, if it has none. 404 when it is not in the table."""
        return await processor.process(request, body.image_id, body.image_url)

    @router.post("/process/batch")
    async def process_batch(
        request: Request, ids: Annotated[list[ImageIdText], Field(max_length=MOST_IDS)]
    ) -> BatchProcessed:
        """Gives several images their vectors and tells which have none. 404 when none of them is in the table."""
        return await processor.process_batch(request, ids)

    @router.post("/process/all", status_code=202)
    async def process_all(request: Request, response: Response, body: ProcessAll | None = None) -> RunAnswer:
        """Works on all images, or so many of them, in the background; `wait` answers when all is done."""
        asked = body or ProcessAll()
        run = await run_in_threadpool(
            house.services.runs.ask,
            limit=asked.limit,
            skip_processed=asked.skip_processed,
            forced=asked.force_reprocess,
        )
        if asked.wait:
            response.status_code = 200
            return await unless_gone(request, _finished(run))
        return await run_in_threadpool(_look, run)

    @router.get("/runs/{run_id}")
    def get_run(run_id: UUID) -> RunAnswer:
        """How far a run is."""
        return _look(run_id)

    async def _finished(run_id: UUID) -> RunAnswer:
        # It ends in the database, perhaps by another daemon, and nobody calls.
        while not (seen := await run_in_threadpool(_look, run_id)).done:  # noqa: ASYNC110 - as said
            await asyncio.sleep(LOOK_SECONDS)
        return seen

    def _look(run_id: UUID) -> RunAnswer:
        seen = house.services.runs.look(run_id)
        if seen is None:
            raise Problem(404, "no_such_run", f"there is no run {run_id}")
        return RunAnswer(run_id=run_id, **_facts(seen))

    return router


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
