"""Large JPEG photographs, which libjpeg decodes at a half or a quarter: their vectors are those of a full decode."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.engine import EngineOptions, ModelSpec, find_weights, open_engine
from daemon.loader.decode import decode
from daemon.records import Pixels
from tests.loading import SHARED, encoded

WEIGHTS = SHARED / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
PHOTOGRAPHS = sorted(SHARED.joinpath("photos").rglob("*.jpg"))[::20]
SHAPES = [(1024, 768), (2048, 1536), (4000, 3000)]
SIZE = 224


def _photograph(source: Path, shape: tuple[int, int]) -> bytes:
    """Enlarged, with the grain of a camera: a file as large as one would come from it."""
    with Image.open(source) as picture:
        large = picture.convert("RGB").resize(shape, Image.Resampling.BICUBIC)
    return encoded("JPEG", Image.blend(large, Image.effect_noise(shape, 24).convert("RGB"), 0.15), quality=90)


def _drafted(data: bytes) -> Pixels:
    return np.frombuffer(decode(data, size=SIZE, max_pixels=50_000_000), np.uint8).reshape(SIZE, SIZE, 3)


def _full(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


@pytest.mark.skipif(
    not (PHOTOGRAPHS and WEIGHTS.is_file()), reason="../shared with weights and photographs is not here"
)
def test_vectors_of_drafted_photographs_are_almost_those_of_a_full_decode(compiled: Path) -> None:
    found = find_weights(str(WEIGHTS), alpha=1.0, input_size=SIZE, state_dir=compiled)
    spec = ModelSpec(alpha=1.0, input_size=SIZE, scaling="tf", weights=found)
    engine = open_engine(spec, EngineOptions(state_dir=compiled, device="cpu", batch_max=8))
    files = [_photograph(source, SHAPES[n % len(SHAPES)]) for n, source in enumerate(PHOTOGRAPHS)]
    drafted, full = (engine.embed(np.stack([read(data) for data in files])) for read in (_drafted, _full))
    engine.close()
    assert not np.array_equal(drafted, full)
    assert (drafted * full).sum(axis=1).min() >= 0.999
