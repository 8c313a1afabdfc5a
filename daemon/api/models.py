"""The bodies of requests and answers. Field names are those of the service that vectord replaces."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

LARGEST = 2**63 - 1
MOST_IDS = 10_000
ID_PATTERN = r"^[^\x00-\x1f\x7f\ud800-\udfff]{1,200}$"
ID_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 200},
        {"type": "integer", "minimum": -LARGEST - 1, "maximum": LARGEST},
    ]
}


def _as_text(value: object) -> object:
    """A number is an id, too; true is none."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _printable(value: object) -> object:
    if isinstance(value, str) and any(ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in value):
        raise ValueError("an id has no control characters in it")
    return value


ImageIdText = Annotated[
    str,
    BeforeValidator(_printable),
    BeforeValidator(_as_text),
    StringConstraints(min_length=1, max_length=200),
    WithJsonSchema(ID_SCHEMA),
]
"""An image's id, text or number; text throughout, since a bigint is more than a JavaScript number can hold."""

Location = Annotated[str, BeforeValidator(_printable), StringConstraints(min_length=1, max_length=8192)]
"""An http(s) URL."""


class Body(BaseModel):
    """A request's body: an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid")


class ProblemAnswer(BaseModel):
    """What went wrong: `reason` is stable, `message` is for people."""

    reason: str
    message: str


class Extracted(BaseModel):
    """A picture's vector, of unit length."""

    image_id: str | None = Field(description="The id that came with the request, if one did.")
    feature_vector: list[float]
    dimension: int
    model_version: str


class ProcessImage(Body):
    """An image to work on now. `image_url` is fetched instead of the image's own location, where it is given."""

    image_id: ImageIdText
    image_url: Location | None = None


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


class ProcessAll(Body):
    """Images to work on: all, or `limit` of them. `force_reprocess`: also those that have a vector."""

    limit: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    skip_processed: bool = True
    force_reprocess: bool = False
    wait: bool = False


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


class RetryBody(Body):
    """One of the three."""

    image_id: ImageIdText | None = None
    reason: str | None = None
    all: bool = False


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
