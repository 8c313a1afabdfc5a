"""The nearest images, by the cosine of their vectors."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request

from daemon.api.embedding import embed_upload, embed_url
from daemon.api.inputs import ImageIdText, Location
from daemon.api.models import NeighbourAnswer, SimilarAnswer
from daemon.api.problems import documented
from daemon.api.routes.extract import upload_form
from daemon.api.services import House, Neighbour
from daemon.api.whole import WholeIds

MOST = 1_000
NearestCount = Annotated[int, Query(ge=1, le=MOST, description="How many.")]


def similar_routes(house: House) -> APIRouter:
    """`/similar`."""
    router = APIRouter(tags=["similar"], route_class=WholeIds)

    @router.get("/similar/{image_id}", responses=documented(404, 429))
    async def similar_to_image(image_id: ImageIdText, k: NearestCount = 10) -> SimilarAnswer:
        """The images nearest to one of the table. 404 when it has no vector."""
        return _answer(await house.desk.ask(lambda: house.services.similar.to_image(image_id, k)))

    @router.post(
        "/similar",
        openapi_extra=upload_form(required=False),
        responses=documented(400, 424, 429),
    )
    async def similar_to_picture(
        request: Request,
        image_url: Annotated[Location | None, Query(description="Instead of an upload.")] = None,
        k: NearestCount = 10,
    ) -> SimilarAnswer:
        """The images nearest to an uploaded picture, or to the one at a URL."""
        if image_url is None:
            vector, _ = await embed_upload(house, request)
        else:
            vector = await embed_url(house, request, image_url)
        return _answer(await house.desk.ask(lambda: house.services.similar.to_vector(vector, k)))

    return router


def _answer(found: Sequence[Neighbour]) -> SimilarAnswer:
    return SimilarAnswer(
        neighbours=[
            NeighbourAnswer(image_id=str(one.image_id), similarity=one.similarity, model_version=one.version)
            for one in found
        ]
    )
