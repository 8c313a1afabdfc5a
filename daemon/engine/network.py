"""The model itself, in Keras: uint8 in, unit vectors out. Every engine runs this one or a conversion of it."""

from typing import Any

from daemon.engine.protocol import ModelSpec, Precision
from daemon.engine.quiet import import_keras
from daemon.engine.weights import load_weights

keras = import_keras()

RESCALINGS = {
    # [-1, 1], as MobileNetV2 was trained: keras.applications.mobilenet_v2.preprocess_input.
    "tf": {"scale": 1 / 127.5, "offset": -1.0},
    # [0, 1], for tables that hold vectors made so.
    "unit": {"scale": 1 / 255, "offset": 0.0},
}

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""`engine.precision` in Keras' words: weights stay float32, the convolutions compute in the precision."""


def build(spec: ModelSpec, precision: Precision = "float32") -> Any:
    """The `keras.Model` from uint8 `[N, H, W, 3]` to float32 `[N, D]`, with its weights.

    Raises `EngineError` when the weights are not those of such a model.
    """
    tensors = load_weights(spec.weights, spec.alpha)
    before = keras.config.dtype_policy()
    # Keras' applications take no dtype: their layers follow the global policy.
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        backbone = _backbone(spec)
    finally:
        keras.config.set_dtype_policy(before)
    for name, arrays in tensors.items():
        backbone.get_layer(name).set_weights(arrays)
    return _complete(spec, backbone)


def _backbone(spec: ModelSpec) -> Any:
    side = spec.input_size
    return keras.applications.MobileNetV2(
        input_shape=(side, side, 3), alpha=spec.alpha, include_top=False, weights=None
    )


def _complete(spec: ModelSpec, backbone: Any) -> Any:
    """Scaling before it, pooling and unit length after it, in float32 whatever is between."""
    pixels = keras.Input((spec.input_size, spec.input_size, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(**RESCALINGS[spec.scaling], dtype="float32")(pixels)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(backbone(scaled))
    vectors = keras.layers.UnitNormalization(dtype="float32")(pooled)
    return keras.Model(pixels, vectors)
