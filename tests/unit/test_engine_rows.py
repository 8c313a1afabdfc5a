"""What every engine does with rows: cutting, padding, checking, marking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.rows import CALL_ROWS, checked, chunks, cut, marked, padded, shapes

SIZES = st.integers(1, 300).map(shapes)


@given(rows=st.integers(1, 2000), sizes=SIZES)
def test_a_cut_covers_every_row_once_and_in_order(rows: int, sizes: tuple[int, ...]) -> None:
    parts = list(cut(rows, sizes))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all(part.size in sizes and part.stop - part.start <= part.size for part in parts)


@given(rows=st.integers(1, 2000), sizes=SIZES)
def test_padding_costs_less_than_the_calls_it_saves(rows: int, sizes: tuple[int, ...]) -> None:
    parts = list(cut(rows, sizes))
    unpadded = rows + CALL_ROWS * rows
    assert sum(part.size + CALL_ROWS for part in parts) <= unpadded
    assert all(part.stop - part.start == part.size for part in parts[:-1])


@given(rows=st.integers(1, 2000), limit=st.integers(1, 300))
def test_chunks_are_never_padded(rows: int, limit: int) -> None:
    parts = list(chunks(rows, limit))
    assert sum(part.size for part in parts) == rows
    assert all(part.stop - part.start == part.size <= limit for part in parts)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, (1,)), (8, (1, 8)), (32, (1, 8, 32)), (64, (1, 4, 16, 64)), (256, (1, 16, 64, 256))]
)
def test_few_shapes(limit: int, expected: tuple[int, ...]) -> None:
    assert shapes(limit) == expected


def test_padding_is_black_and_after_the_rows() -> None:
    pixels = np.full((3, 2, 2, 3), 7, np.uint8)
    (part,) = cut(3, (8,))
    rows = padded(pixels, part)
    assert rows.shape == (8, 2, 2, 3)
    assert (rows[:3] == 7).all()
    assert not rows[3:].any()


def test_a_full_part_is_not_copied() -> None:
    pixels = np.zeros((8, 2, 2, 3), np.uint8)
    (part,) = cut(8, (8,))
    assert np.shares_memory(padded(pixels, part), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((1, 3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.int8),
        [[[[0, 0, 0]]]],
    ],
)
def test_other_arrays_are_refused(pixels: object) -> None:
    with pytest.raises(ValueError, match="pixels must"):
        checked(pixels, 4)  # type: ignore[arg-type]  # That is the point.


def test_a_strided_batch_is_made_contiguous() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)[:, :, ::-1]
    made = checked(pixels, 4)
    assert made.flags.c_contiguous
    assert (made == pixels).all()


def test_rows_without_a_direction_are_marked_and_their_neighbours_are_not() -> None:
    vectors = np.array([[0.6, 0.8], [0.0, 0.0], [np.nan, 1.0], [np.inf, 0.0], [3.0, 4.0], [1.0, 0.0]], np.float32)
    made = marked(vectors)
    assert np.isnan(made[1:5]).all()
    assert made[[0, 5]].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [1.0, 0.0]]
