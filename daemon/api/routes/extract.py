"""A vector for the asking: nothing is stored."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from daemon.api.embedding import embed_upload, embed_url
from daemon.api.models import Extracted, ImageIdText, Location
from daemon.api.services import House
from daemon.records import Vectors

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The picture."},
                        "image_id": {"type": "string", "description": "Given back in the answer."},
                    },
                }
            }
        },
    }
}


def extract_routes(house: House) -> APIRouter:
    """`/extract`."""
    router = APIRouter(prefix="/extract", tags=["extract"])

    def answer(vector: Vectors, image_id: str | None) -> JSONResponse:
        # Not through pydantic: it would look at each of the 1280 numbers.
        return JSONResponse(
            {
                "image_id": image_id,
                "feature_vector": vector.tolist(),
                "dimension": vector.shape[0],
                "model_version": house.services.signature(),
            }
        )

    @router.post("/url", response_model=Extracted)
    async def extract_url(
        request: Request,
        image_url: Annotated[Location, Query(description="An http(s) URL of a picture.")],
        image_id: Annotated[ImageIdText | None, Query(description="Given back in the answer.")] = None,
    ) -> JSONResponse:
        """The vector of the picture at a URL."""
        return answer(await embed_url(house, request, image_url), image_id)

    @router.post("/upload", response_model=Extracted, openapi_extra=UPLOAD)
    async def extract_upload(request: Request) -> JSONResponse:
        """The vector of an uploaded picture."""
        return answer(*await embed_upload(house, request))

    return router
