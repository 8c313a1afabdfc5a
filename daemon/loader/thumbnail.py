"""A picture for people to look at: small, in its own proportions, as a JPEG."""

from io import BytesIO

from PIL import Image

from daemon.errors import Reason
from daemon.loader.problem import LoadError

QUALITIES = (82, 60, 30)
"""Tried in turn until the JPEG fits. 256 by 256 pixels of noise take 55 kB of the 150 kB of a slot at the first."""
REDUCING_GAP = 4.0
"""A far larger picture is first averaged down to no less than so many times the thumbnail."""


def encode_small(picture: Image.Image, box: tuple[float, float, float, float] | None, *, side: int, most: int) -> bytes:
    """This part of the picture, its longer side `side` pixels or fewer, never enlarged. Raises `LoadError`."""
    left, top, right, bottom = box or (0, 0, *picture.size)
    shrink = min(1.0, side / max(right - left, bottom - top))
    size = max(1, round((right - left) * shrink)), max(1, round((bottom - top) * shrink))
    small = picture.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=REDUCING_GAP)
    for quality in QUALITIES:
        out = BytesIO()
        small.save(out, "JPEG", quality=quality)
        if out.tell() <= most:
            return out.getvalue()
    raise LoadError(Reason.TOO_LARGE, "its thumbnail")
