"""signature: what is in it, what it fits into, and what changes it."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sections import ALPHAS
from daemon.signature import LONGEST, Model, dimension, sign

FORM = re.compile(r"vectord:mobilenetv2_[\d.]+_\d+:[0-9a-f]{8}:g\d+")
MODEL = Model(alpha=1.0, input_size=224, scaling="tf", weights_digest="ab" * 32)


def test_it_names_the_model_and_the_generation() -> None:
    assert sign(MODEL, 3).startswith("vectord:mobilenetv2_1.0_224:")
    assert sign(MODEL, 3).endswith(":g3")


@pytest.mark.parametrize(
    "changed",
    [{"alpha": 0.5}, {"input_size": 192}, {"scaling": "unit"}, {"weights_digest": "cd" * 32}, {"srgb": True}],
)
def test_whatever_changes_a_vector_changes_it(changed: dict[str, object]) -> None:
    assert sign(replace(MODEL, **changed), 0) != sign(MODEL, 0)  # type: ignore[arg-type] # a table has no one type


@given(st.sampled_from(ALPHAS), st.integers(32, 1024), st.integers(0, 10**9))
def test_it_fits_into_the_users_column(alpha: float, size: int, generation: int) -> None:
    signature = sign(replace(MODEL, alpha=alpha, input_size=size), generation)
    assert len(signature) <= LONGEST
    assert FORM.fullmatch(signature)


def test_the_vector_is_longer_above_alpha_one() -> None:
    # Source: the last convolution of keras.applications.MobileNetV2 at each alpha.
    assert [dimension(alpha) for alpha in ALPHAS] == [1280, 1280, 1280, 1280, 1664, 1792]
