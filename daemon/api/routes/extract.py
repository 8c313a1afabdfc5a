"""A vector for the asking: nothing is stored."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from daemon.api.embedding import embed_upload, embed_url
from daemon.api.inputs import ImageIdText, Location
from daemon.api.models import Extracted
from daemon.api.problems import documented
from daemon.api.services import House
from daemon.records import Vectors


def upload_form(*, required: bool) -> dict[str, Any]:
    """The description of a multipart upload, for a route that reads the form itself, with bounds."""
    schema = {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "The picture."},
            "image_id": {"type": "string", "description": "Given back in the answer."},
        },
    }
    schema |= {"required": ["file"]} if required else {}
    return {"requestBody": {"required": required, "content": {"multipart/form-data": {"schema": schema}}}}


def extract_routes(house: House) -> APIRouter:
    """`/extract`."""
    router = APIRouter(prefix="/extract", tags=["extract"])

    def answer(vector: Vectors, image_id: str | None) -> Response:
        # Not through pydantic, which would look at each of the 1280 numbers, nor as text of float64: a float32 has 8
        # digits, and the answer is half as long.
        extracted = {
            "image_id": image_id,
            "feature_vector": vector,
            "dimension": vector.shape[0],
            "model_version": house.services.signature(),
        }
        return Response(orjson.dumps(extracted, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    @router.post("/url", response_model=Extracted, responses=documented(424, 429))
    async def extract_url(
        request: Request,
        image_url: Annotated[Location, Query(description="An http(s) URL of a picture.")],
        image_id: Annotated[ImageIdText | None, Query(description="Given back in the answer.")] = None,
    ) -> Response:
        """The vector of the picture at a URL."""
        return answer(await embed_url(house, request, image_url), image_id)

    @router.post(
        "/upload",
        response_model=Extracted,
        openapi_extra=upload_form(required=True),
        responses=documented(400, 424, 429),
    )
    async def extract_upload(request: Request) -> Response:
        """The vector of an uploaded picture."""
        return answer(*await embed_upload(house, request))

    return router
