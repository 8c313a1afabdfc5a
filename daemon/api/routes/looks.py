"""What the console shows of images, beside what `images` tells: pictures, vectors, and who waits for another try."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from daemon.api.inputs import ImageIdText
from daemon.api.models_console import ImageVectorAnswer, WaitingAnswer, WaitingsAnswer
from daemon.api.problems import documented
from daemon.api.services import House
from daemon.api.thumbnails import Thumbnails
from daemon.api.whole import WholeIds

MOST_WAITING = 1_000
JPEG = "image/jpeg"
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {JPEG: {"schema": {"type": "string", "format": "binary"}}}, "description": "A JPEG."},
}


def look_routes(house: House) -> APIRouter:
    """`/images/{id}/thumbnail`, `/images/{id}/vector` and `/waiting`."""
    router = APIRouter(tags=["console"], route_class=WholeIds)
    thumbnails = Thumbnails(house)

    @router.get(
        "/images/{image_id}/thumbnail",
        response_class=Response,
        responses={**PICTURE, **documented(404, 424, 429)},
    )
    async def get_thumbnail(request: Request, image_id: ImageIdText) -> Response:
        """The image's picture, small: fetched like any other, and kept for ten minutes."""
        return Response(await thumbnails.of(request, image_id), media_type=JPEG)

    @router.get("/images/{image_id}/vector", response_model=ImageVectorAnswer, responses=documented(404, 429))
    async def get_vector(image_id: ImageIdText) -> Response:
        """The image's vector as the table has it. 404 when it has none."""
        vector = await house.desk.ask(lambda: house.services.similar.vector_of(image_id))
        # Not through pydantic, which would look at each of the 1280 numbers. NaN, which another program may have
        # written, is null.
        seen = {
            "image_id": image_id,
            "feature_vector": vector.values,
            "dimension": len(vector.values),
            "model_version": vector.version,
        }
        return Response(orjson.dumps(seen), media_type="application/json")

    @router.get("/waiting", responses=documented(429))
    async def get_waiting(limit: Annotated[int, Query(ge=1, le=MOST_WAITING)] = 100) -> WaitingsAnswer:
        """The images that failed and are tried again, the next one first."""
        seen = await house.desk.ask(lambda: house.services.reports.waiting(limit))
        return WaitingsAnswer(waiting=[WaitingAnswer(**asdict(one) | {"image_id": str(one.image_id)}) for one in seen])

    return router
