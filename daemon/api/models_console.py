"""Answers that the console needs, and others may use."""

from datetime import datetime

from pydantic import BaseModel


class ImageVectorAnswer(BaseModel):
    """An image's vector, and what made it."""

    image_id: str
    feature_vector: list[float]
    dimension: int
    model_version: str | None


class WaitingAnswer(BaseModel):
    """An image that failed and is tried again at `next_try`."""

    image_id: str
    reason: str
    explanation: str
    detail: str
    attempts: int
    next_try: datetime
    location: str


class WaitingsAnswer(BaseModel):
    """The images that wait for another try, the next one first."""

    waiting: list[WaitingAnswer]
