"""What made a vector: the name that `model_version` holds and that decides whether an image is done.

`vectord:mobilenetv2_1.0_224:1a2b3c4d:g0`: the model, alpha and input size, eight hex digits over weights and
preprocessing, and the generation. At most 50 characters, the width of the users' column.
"""

import hashlib
from dataclasses import dataclass

PREPROCESSING = "pillow-bilinear-exif-white"
"""The name of what `loader.decode` does to a picture. Whoever changes the pixels it gives changes this name."""

PREFIX = "vectord:"
LONGEST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """All that decides a vector's value: alpha, input size, scaling, the SHA-256 of the weights, colours made sRGB."""

    alpha: float
    input_size: int
    scaling: str
    weights_digest: str
    srgb: bool = False


def sign(model: Model, generation: int) -> str:
    """The signature of vectors that this model makes in this generation."""
    preprocessing = PREPROCESSING + "-srgb" * model.srgb
    made_by = f"{model.weights_digest}|{preprocessing}|{model.scaling}"
    digest = hashlib.sha256(made_by.encode()).hexdigest()[:8]
    return f"{PREFIX}mobilenetv2_{model.alpha}_{model.input_size}:{digest}:g{generation}"


def dimension(alpha: float) -> int:
    """Length of the vector: 1280, and more above alpha 1.0 (the last convolution of MobileNetV2 grows with it).

    Source: keras.applications.mobilenet_v2, `_make_divisible(1280 * alpha, 8)` for alpha > 1.0.
    """
    if alpha <= 1.0:
        return 1280
    return int(1280 * alpha + 4) // 8 * 8
