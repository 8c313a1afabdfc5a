"""What every engine does with its rows on the host: check what comes in, cut it into batches, check what goes out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.records import Pixels, Vectors

CALL_ROWS = 4
"""What one more call of the model costs, in rows: below that, padding is cheaper than another call."""

LENGTH_TOLERANCE = 1e-3
"""How far from one a vector's length may be: float16 rounding stays far below, a vector of zeros far above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows `start` to `stop` of a batch, to be run padded to `size` rows."""

    start: int
    stop: int
    size: int


def checked(pixels: Pixels, side: int) -> Pixels:
    """The pixels, C-contiguous (copied if they were not). Raises `ValueError` when they are no such batch."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be a uint8 array, not {getattr(pixels, 'dtype', type(pixels).__name__)}")
    if pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
        raise ValueError(f"pixels must have the shape [N, {side}, {side}, 3] with N >= 1, not {list(pixels.shape)}")
    return np.ascontiguousarray(pixels)


def shapes(limit: int) -> tuple[int, ...]:
    """Few batch sizes that waste little: one, the limit, and a quarter and a sixteenth of it if 4 or more."""
    return tuple(sorted({1, limit} | {limit // part for part in (4, 16) if limit // part >= 4}))


def chunks(rows: int, limit: int) -> Iterator[Slice]:
    """Cuts `rows` rows into calls of at most `limit`, none of them padded."""
    for start in range(0, rows, limit):
        stop = min(rows, start + limit)
        yield Slice(start=start, stop=stop, size=stop - start)


def cut(rows: int, sizes: Sequence[int]) -> Iterator[Slice]:
    """Cuts `rows` rows into calls of the given ascending `sizes`, so that calls and padded rows cost least together."""
    start = 0
    while start < rows:
        size = _next_size(rows - start, sizes)
        stop = min(rows, start + size)
        yield Slice(start=start, stop=stop, size=size)
        start = stop


def _next_size(rows: int, sizes: Sequence[int]) -> int:
    fitting = max((size for size in sizes if size <= rows), default=sizes[0])
    above = min((size for size in sizes if size >= rows), default=fitting)
    calls = -(-rows // fitting)
    return above if above + CALL_ROWS <= calls * (fitting + CALL_ROWS) else fitting


def padded(pixels: Pixels, part: Slice) -> Pixels:
    """The part's rows, with black rows after them up to its size. A full part is a view."""
    rows = pixels[part.start : part.stop]
    missing = part.size - len(rows)
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), np.uint8)]) if missing else rows


def marked(vectors: Vectors) -> Vectors:
    """The vectors, in place; one that is not of unit length becomes NaN throughout, so that it is seen downstream.

    A picture whose features are all zero has no direction: cosine distance to it is undefined in pgvector as well.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    # Written so that a length of NaN is wrong too.
    vectors[~(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)] = np.nan
    return vectors
