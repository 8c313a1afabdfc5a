"""Every alpha, several sizes, both scalings, the precisions, and files that Keras itself saved."""

from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from daemon.engine import Engine, EngineOptions, ModelSpec, WeightsFile, find_weights, open_engine
from daemon.engine.architecture import KNOWN_ALPHAS, layers
from daemon.engine.protocol import Precision, Scaling
from daemon.engine.quiet import import_keras, import_openvino
from daemon.errors import EngineError
from daemon.records import Pixels, Vectors
from daemon.signature import dimension

pytestmark = pytest.mark.filterwarnings(
    # TensorFlow's variables under NumPy 2; Keras asks for their values when it saves them.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)

SIZE = 64
"""Of a side: the quickest that still has every layer at work."""


def untrained(alpha: float, size: int = SIZE, scaling: Scaling = "tf") -> ModelSpec:
    weights = find_weights("untrained", alpha=alpha, input_size=size, state_dir=Path())
    return ModelSpec(alpha=alpha, input_size=size, scaling=scaling, weights=weights)


def open_on_cpu(spec: ModelSpec, state_dir: Path, **options: Any) -> Engine:
    return open_engine(spec, EngineOptions(state_dir=state_dir, device="cpu", **options))


def pictures(count: int, size: int = SIZE) -> Pixels:
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)


@cache
def by_tensorflow(state_dir: Path, alpha: float = 0.35, scaling: Scaling = "tf") -> Vectors:
    """Vectors of `pictures(4)`. Kept, since TensorFlow takes some seconds to make a model."""
    return open_on_cpu(untrained(alpha, scaling=scaling), state_dir, backend="tensorflow").embed(pictures(4))


@pytest.mark.parametrize("alpha", KNOWN_ALPHAS)
def test_every_alpha_has_the_layers_and_the_dimension_that_keras_gives_it(alpha: float) -> None:
    from daemon.engine import network  # noqa: PLC0415  # Not before a test asks for it: it imports TensorFlow.

    model = network.build(untrained(alpha))
    (backbone,) = (layer for layer in model.layers if "mobilenetv2" in layer.name)
    built = [(layer.name, tuple(tuple(w.shape) for w in layer.weights)) for layer in backbone.layers if layer.weights]
    assert built == [(layer.name, layer.shapes) for layer in layers(alpha)]
    assert model(pictures(2)).shape == (2, dimension(alpha))


@pytest.mark.parametrize(("alpha", "size", "scaling"), [(0.35, 96, "tf"), (1.4, 100, "unit")])
def test_both_engines_agree_on_other_models(alpha: float, size: int, scaling: Scaling, compiled: Path) -> None:
    spec, pixels = untrained(alpha, size, scaling), pictures(5, size)
    first, second = (open_on_cpu(spec, compiled, backend=name).embed(pixels) for name in ("tensorflow", "openvino"))
    assert np.abs(first - second).max() < 1e-5
    assert first.shape == (5, dimension(alpha))


def test_the_scaling_changes_the_vectors(compiled: Path) -> None:
    tf, unit = (by_tensorflow(compiled, scaling=scaling) for scaling in get_args(Scaling))
    assert (tf * unit).sum(axis=1).max() < 0.999


def test_drawn_weights_tell_pictures_apart(compiled: Path) -> None:
    vectors = by_tensorflow(compiled, alpha=1.0)
    similar = vectors @ vectors.T
    assert similar[~np.eye(len(vectors), dtype=bool)].max() < 0.999


@pytest.mark.parametrize("precision", get_args(Precision))
def test_tensorflow_computes_in_every_precision(precision: Precision, compiled: Path) -> None:
    exact = by_tensorflow(compiled)
    engine = open_on_cpu(untrained(0.35), compiled, backend="tensorflow", precision=precision)
    vectors = engine.embed(pictures(4))
    assert vectors.dtype == np.float32
    assert (vectors * exact).sum(axis=1).min() > 0.98
    assert (vectors.tolist() == exact.tolist()) == (precision == "float32")
    assert engine.describe().precision == precision


def test_openvino_computes_in_bfloat16_where_the_cpu_can(compiled: Path) -> None:
    spec, pixels = untrained(0.35, 96), pictures(4, 96)
    exact = open_on_cpu(spec, compiled, backend="openvino").embed(pixels)
    if "BF16" not in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match=r"set engine\.precision to float32"):
            open_on_cpu(spec, compiled, backend="openvino", precision="bfloat16")
        return
    vectors = open_on_cpu(spec, compiled, backend="openvino", precision="bfloat16").embed(pixels)
    assert (vectors * exact).sum(axis=1).min() > 0.98
    assert np.abs(vectors - exact).max() > 1e-4


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")  # Keras' opinion of a format we read.
@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("m.keras", "none"),
        ("m.keras", "nested"),
        ("m.h5", "classifier"),
        ("m.h5", "nested"),
        ("m.weights.h5", "nested"),
    ],
)
def test_files_that_keras_saved_are_taken(name: str, top: str, tmp_path: Path) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(11)
    shape = (SIZE, SIZE, 3)
    model = keras.applications.MobileNetV2(input_shape=shape, alpha=0.35, include_top=top == "classifier", weights=None)
    backbone = model
    if top == "nested":
        model = keras.Sequential([keras.Input(shape), model, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    path = tmp_path / name
    model.save_weights(path) if "weights" in name else model.save(path)
    engine = open_on_cpu(
        ModelSpec(
            alpha=0.35,
            input_size=SIZE,
            scaling="tf",
            weights=find_weights(str(path), alpha=0.35, input_size=SIZE, state_dir=tmp_path),
        ),
        tmp_path,
        backend="tensorflow",
    )
    prepared = pictures(3).astype(np.float32) / 127.5 - 1
    features = keras.Model(backbone.inputs, backbone.get_layer("out_relu").output)([prepared], training=False)
    pooled = np.asarray(features).mean(axis=(1, 2))
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert np.abs(engine.embed(pictures(3)) - expected).max() < 1e-5


@pytest.mark.parametrize("backend", ["auto", "tensorflow", "openvino"])
def test_wrong_weights_are_told_in_one_sentence_by_every_engine(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"no weights")
    weights = WeightsFile(path=path, digest="0")
    spec = ModelSpec(alpha=1.0, input_size=SIZE, scaling="tf", weights=weights)
    with pytest.raises(EngineError, match=rf"^{path} cannot be read as Keras weights") as caught:
        open_on_cpu(spec, tmp_path, backend=backend)
    assert "\n" not in str(caught.value)


def test_the_model_shows_a_picture_without_a_direction(tmp_path: Path) -> None:
    """Weights that silence every channel: the vector has no direction, and NaN says so."""
    keras = import_keras()
    model = keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), alpha=0.35, include_top=False, weights=None)
    last = model.get_layer("Conv_1_bn")
    last.set_weights([np.zeros(1280), np.full(1280, -1.0), np.zeros(1280), np.ones(1280)])
    path = tmp_path / "w.weights.h5"
    model.save_weights(path)
    found = find_weights(str(path), alpha=0.35, input_size=SIZE, state_dir=tmp_path)
    spec = ModelSpec(alpha=0.35, input_size=SIZE, scaling="tf", weights=found)
    for backend in ("tensorflow", "openvino"):
        assert np.isnan(open_on_cpu(spec, tmp_path, backend=backend).embed(pictures(3))).all()
