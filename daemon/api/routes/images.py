"""What is known of images, and another chance for those that failed."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from daemon.api.inputs import ImageIdText, ReasonLabel, RetryBody
from daemon.api.models import FailureAnswer, FailuresAnswer, ImageAnswer, JobAnswer, Retried, VectorAnswer
from daemon.api.problems import Problem, documented
from daemon.api.processing import no_such_image
from daemon.api.services import House, Reports, Retries
from daemon.api.whole import WholeIds
from daemon.db.findings import FailureSeen, JobSeen, VectorSeen, Why
from daemon.errors import Reason

MOST_FAILURES = 1_000


def image_routes(house: House) -> APIRouter:
    """`/images`, `/failures` and `/retry`."""
    router = APIRouter(tags=["images"], route_class=WholeIds, responses=documented(429))

    @router.get("/images/{image_id}", responses=documented(404))
    async def get_image(image_id: ImageIdText) -> ImageAnswer:
        """All that is known of one image."""
        seen = await house.desk.ask(lambda: house.services.reports.why(image_id))
        if not seen.exists:
            raise no_such_image(image_id)
        return _image(seen)

    @router.get("/failures")
    async def get_failures(
        reason: Annotated[ReasonLabel | None, Query(description="Of this reason alone.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_FAILURES)] = 100,
    ) -> FailuresAnswer:
        """The images that failed for good, the newest first."""
        chosen = _reason(reason)
        return await house.desk.ask(lambda: _failures(house.services.reports, chosen, limit))

    @router.post("/retry", responses=documented(400, 404))
    async def retry(body: RetryBody) -> Retried:
        """Another chance for an image, for all that failed of a reason, or for all that failed."""
        if sum((body.image_id is not None, body.reason is not None, body.all)) != 1:
            raise Problem(422, "invalid_request", "say one of image_id, reason and all")
        return Retried(retried=await house.desk.ask(lambda: _retry(house.services.retries, body)))

    return router


def _failures(reports: Reports, reason: Reason | None, limit: int) -> FailuresAnswer:
    counts = {label: figure.number for label, figure in reports.dead().items()}
    return FailuresAnswer(counts=counts, failures=[_failure(one) for one in reports.failures(reason, limit)])


def _retry(retries: Retries, body: RetryBody) -> int:
    if body.image_id is None:
        reason = _reason(body.reason)
        return retries.all() if reason is None else retries.reason(reason)
    count = retries.one(body.image_id)
    if not count:
        raise Problem(404, "no_such_job", f"image {body.image_id} has no job that could be tried again")
    return count


def _reason(label: str | None) -> Reason | None:
    try:
        return None if label is None else Reason.from_label(label)
    except ValueError:
        known = ", ".join(reason.label for reason in Reason)
        raise Problem(422, "invalid_request", f"no such reason; the known ones are {known}") from None


def _image(seen: Why) -> ImageAnswer:
    return ImageAnswer(
        image_id=seen.image_id,
        verdict=seen.verdict,
        location=seen.location,
        vector=None if seen.vector is None else _vector(seen.vector),
        job=None if seen.job is None else _job(seen.job),
        signature=seen.signature,
    )


def _vector(seen: VectorSeen) -> VectorAnswer:
    return VectorAnswer(model_version=seen.version, present=seen.present, created=seen.created, updated=seen.updated)


def _job(seen: JobSeen) -> JobAnswer:
    return JobAnswer(**{name: getattr(seen, name) for name in JobAnswer.model_fields})


def _failure(seen: FailureSeen) -> FailureAnswer:
    return FailureAnswer(**asdict(seen) | {"image_id": str(seen.image_id)})
