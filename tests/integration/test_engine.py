"""One behaviour suite for every engine: the vectors of Keras' own `predict`, for any number of pictures, in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from daemon.engine import Engine, EngineOptions, ModelSpec, find_weights, open_engine
from daemon.engine.backends import open_backend
from daemon.engine.keras import open_keras
from daemon.engine.protocol import EngineInfo
from daemon.engine.quiet import import_keras
from daemon.records import Pixels, Vectors

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
IMAGENET = SHARED / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
FLOWERS = sorted((SHARED / "photos" / "flowers").glob("*/*.jpg"))
pytestmark = pytest.mark.filterwarnings(
    # TensorFlow's variables under NumPy 2; Keras asks for their values when it saves them.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)

BATCH_MAX = 8
"""Small, so that "beyond the largest batch" costs little."""

COMPANY = 2e-6
"""How far a component of a vector may be moved by the pictures beside it. None at all was measured in OpenVINO, which
runs each alone, and 3e-8 in TensorFlow, whose kernels sum in another order for another number of rows."""


class KerasPredict:
    """The reference: Keras' own MobileNetV2, loaded and run by Keras' own means, with pooling and lengths in NumPy."""

    def __init__(self, weights: Path) -> None:
        self._keras = import_keras()
        self._model = self._keras.applications.MobileNetV2(
            input_shape=(224, 224, 3), include_top=False, weights=str(weights)
        )

    def warm_up(self) -> None:
        self.embed(np.zeros((1, 224, 224, 3), np.uint8))

    def embed(self, pixels: Pixels) -> Vectors:
        prepare = self._keras.applications.mobilenet_v2.preprocess_input
        features = self._model.predict(prepare(pixels.astype(np.float32)), batch_size=32, verbose=0)
        pooled = features.mean(axis=(1, 2), dtype=np.float64)
        vectors: Vectors = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return vectors

    def describe(self) -> EngineInfo:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ImageNet weights; where they are not at hand, drawn ones that Keras itself saved."""
    if IMAGENET.is_file():
        return IMAGENET
    path = tmp_path_factory.mktemp("weights") / "drawn.weights.h5"
    keras = import_keras()
    keras.utils.set_random_seed(5)
    keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None).save_weights(path)
    return path


@pytest.fixture(scope="module")
def spec(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    found = find_weights(str(weights), alpha=1.0, input_size=224, state_dir=tmp_path_factory.mktemp("none"))
    return ModelSpec(alpha=1.0, input_size=224, scaling="tf", weights=found)


@pytest.fixture(scope="module")
def options(compiled: Path) -> EngineOptions:
    return EngineOptions(state_dir=compiled, device="cpu", batch_max=BATCH_MAX)


class FixedShapes:
    """TensorFlow on the CPU, made to use fixed shapes as on a GPU: padding with a real model."""

    def __init__(self, spec: ModelSpec, options: EngineOptions) -> None:
        backend = open_backend(memory_growth=True)
        engine = open_keras(spec, options, backend, gpu=None)
        vars(backend).update(any_rows=False)
        # Not XLA, which is for GPUs: frozen functions of fixed shape.
        vars(backend).update(compile=self._compile)
        self._backend: Any = backend
        self._engine = engine

    def _compile(self, model: Any, rows: int) -> Any:
        frozen = self._backend.freeze(model, rows)
        return lambda pixels: frozen(import_keras().ops.convert_to_tensor(pixels))[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


OURS = ["tensorflow", "tensorflow-fixed", "openvino"]


@pytest.fixture(scope="module", params=[*OURS, "predict"])
def engine(request: pytest.FixtureRequest, spec: ModelSpec, options: EngineOptions) -> Iterator[Any]:
    made: Any
    if request.param == "predict":
        assert spec.weights.path
        made = KerasPredict(spec.weights.path)
    elif request.param == "tensorflow-fixed":
        made = FixedShapes(spec, options)
    else:
        made = open_engine(
            spec, EngineOptions(state_dir=options.state_dir, device="cpu", backend=request.param, batch_max=8)
        )
    made.warm_up()
    yield made
    made.close()
    # Whoever just looks at the daemon (its console, its metrics) may ask a moment later.
    if request.param in OURS:
        assert made.describe().dimension == 1280


@pytest.fixture(scope="module")
def drawn() -> Pixels:
    """Pictures of blobs and noise, 2 * BATCH_MAX + 3 of them."""
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (2 * BATCH_MAX + 3, 7, 7, 3), dtype=np.uint8)
    fine = coarse.repeat(32, axis=1).repeat(32, axis=2)
    return fine // 2 + generator.integers(0, 128, fine.shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(spec: ModelSpec) -> KerasPredict:
    assert spec.weights.path
    return KerasPredict(spec.weights.path)


@pytest.fixture(scope="module")
def expected(reference: KerasPredict, drawn: Pixels) -> Vectors:
    return reference.embed(drawn)


def test_vectors_are_those_of_keras(engine: Engine, drawn: Pixels, expected: Vectors) -> None:
    vectors = engine.embed(drawn)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(drawn), 1280)
    assert (vectors * expected).sum(axis=1).min() >= 0.99999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


@pytest.mark.skipif(not (FLOWERS and IMAGENET.is_file()), reason="../shared with weights and photographs is not here")
def test_vectors_of_real_photographs_are_those_of_keras(engine: Engine, photographs: Pixels, wanted: Vectors) -> None:
    vectors = engine.embed(photographs)
    assert (vectors * wanted).sum(axis=1).min() >= 0.9999
    # Far stricter than the contract: nothing but rounding is between float32 and float32.
    assert np.abs(vectors - wanted).max() < 1e-5


@pytest.fixture(scope="module")
def photographs() -> Pixels:
    def read(path: Path) -> Pixels:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))

    return np.stack([read(path) for path in FLOWERS[::2]])


@pytest.fixture(scope="module")
def wanted(reference: KerasPredict, photographs: Pixels) -> Vectors:
    return reference.embed(photographs)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9, 17])
def test_any_number_of_pictures_comes_back_in_order(
    rows: int, engine: Engine, drawn: Pixels, expected: Vectors
) -> None:
    vectors = engine.embed(drawn[:rows])
    similar = vectors @ expected.T
    assert similar.argmax(axis=1).tolist() == list(range(rows))
    assert similar.max(axis=1).min() >= 0.99999


@pytest.mark.parametrize("rows", [2, 5, 8, 19])
def test_company_does_not_change_a_vector(rows: int, engine: Engine, drawn: Pixels) -> None:
    together = engine.embed(drawn[:rows])
    alone = np.concatenate([engine.embed(drawn[row : row + 1]) for row in (0, rows - 1)])
    assert np.abs(together[[0, rows - 1]] - alone).max() <= COMPANY


def test_white_neighbours_and_black_ones_are_the_same(engine: Engine, drawn: Pixels) -> None:
    white, black = (np.concatenate([drawn[:3], np.full((4, 224, 224, 3), level, np.uint8)]) for level in (255, 0))
    assert np.abs(engine.embed(white)[:3] - engine.embed(black)[:3]).max() <= COMPANY


def test_the_same_again_is_the_same_to_the_bit(engine: Engine, drawn: Pixels) -> None:
    assert engine.embed(drawn[:9]).tolist() == engine.embed(drawn[:9]).tolist()


def test_vectors_stay_when_the_pixels_and_the_engine_go_on(engine: Engine, drawn: Pixels) -> None:
    pixels = drawn[:9].copy()
    vectors = engine.embed(pixels)
    kept = vectors.copy()
    pixels[:] = 0
    engine.embed(pixels)
    assert vectors.tolist() == kept.tolist()


def test_plain_pictures_have_a_direction_too(engine: Engine) -> None:
    pixels = np.stack([np.full((224, 224, 3), level, np.uint8) for level in (0, 128, 255)])
    vectors = engine.embed(pixels)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


@pytest.mark.parametrize("engine", OURS, indirect=True)
def test_pixels_that_cannot_be_written_or_are_strided_are_taken(
    engine: Engine, drawn: Pixels, expected: Vectors
) -> None:
    frozen = drawn[:4].copy()
    frozen.flags.writeable = False
    assert np.abs(engine.embed(frozen) - expected[:4]).max() < 1e-5
    assert np.abs(engine.embed(drawn[6:0:-2]) - expected[6:0:-2]).max() < 1e-5


@pytest.mark.parametrize("engine", OURS, indirect=True)
@pytest.mark.parametrize("shape", [(0, 224, 224, 3), (1, 224, 223, 3), (1, 3, 224, 224), (224, 224, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...], engine: Engine) -> None:
    with pytest.raises(ValueError, match="pixels must have the shape"):
        engine.embed(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("engine", OURS, indirect=True)
def test_another_type_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="pixels must be a uint8 array, not float32"):
        engine.embed(np.zeros((1, 224, 224, 3), np.float32))


@pytest.mark.parametrize("engine", OURS, indirect=True)
def test_it_says_what_it_is(engine: Engine) -> None:
    info = engine.describe()
    assert info.backend in {"tensorflow", "openvino"}
    assert (info.device, info.precision, info.dimension) == ("cpu", "float32", 1280)
    assert (info.batch_limit, info.out_of_memory, info.fallback) == (BATCH_MAX, 0, "")
    assert info.version
