"""The bodies of answers. Field names are those of the service that vectord replaces."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class Mistake(BaseModel):
    """What is wrong with a request, and where."""

    where: str
    message: str


class ProblemAnswer(BaseModel):
    """What went wrong: `reason` is stable, `message` is for people."""

    reason: str
    message: str
    image_id: str | None = Field(default=None, description="The image that it is about, where it is about one.")
    errors: list[Mistake] | None = Field(default=None, description="Of a request that is wrong, each mistake.")


class HealthAnswer(BaseModel):
    """Whether the daemon is alive and gets on, whether it takes work, and a word about each part."""

    healthy: bool
    ready: bool
    state: str
    status: str
    parts: dict[str, str]


class ReadyAnswer(BaseModel):
    """Whether the daemon takes work; `status` tells why not."""

    ready: bool
    status: str


class Extracted(BaseModel):
    """A picture's vector, of unit length."""

    image_id: str | None = Field(description="The id that came with the request, if one did.")
    feature_vector: list[float]
    dimension: int
    model_version: str


class Processed(BaseModel):
    """What came of an image. `reason` tells why not, with the same names as `failures`."""

    success: bool
    image_id: str
    dimension: int | None
    message: str
    reason: str | None = None


class BatchProcessed(BaseModel):
    """What came of several images; an id that was given twice counts twice. `reasons` tells why, by id."""

    total: int
    success: int
    failed: int
    failed_ids: list[str]
    reasons: dict[str, str]


class RunAnswer(BaseModel):
    """How a run is. `total` grows until the whole table has been looked at."""

    run_id: UUID
    done: bool
    total: int
    processed: int
    success: int
    failed: int
    skipped: int
    failed_ids: list[str]
    message: str


class VectorAnswer(BaseModel):
    """An image's vector: what made it, and whether it is the present one."""

    model_version: str | None
    present: bool
    created: str | None
    updated: str | None


class JobAnswer(BaseModel):
    """An image's job."""

    state: str
    revision: int
    attempts: int
    not_before: datetime
    leased_until: datetime | None
    worker: str | None
    reason: str | None
    detail: str
    enqueued_at: datetime
    failed_at: datetime | None


class ImageAnswer(BaseModel):
    """All that is known of one image, as `why` prints it. Credentials in its location are hidden."""

    image_id: str
    verdict: str
    location: str | None
    vector: VectorAnswer | None
    job: JobAnswer | None
    signature: str | None


class FailureAnswer(BaseModel):
    """An image that failed for good."""

    image_id: str
    reason: str
    explanation: str
    detail: str
    attempts: int
    failed_at: datetime | None
    location: str


class FailuresAnswer(BaseModel):
    """How many failed, by reason (at most 100,000 of each are counted), and the newest of them."""

    counts: dict[str, int]
    failures: list[FailureAnswer]


class Retried(BaseModel):
    """How many images are due again."""

    retried: int


class NeighbourAnswer(BaseModel):
    """A near image; `similarity` is the cosine, 1 for the same. Two `model_version`s do not compare."""

    image_id: str
    similarity: float
    model_version: str | None


class SimilarAnswer(BaseModel):
    """The nearest images, the nearest first."""

    neighbours: list[NeighbourAnswer]
