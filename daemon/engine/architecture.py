"""MobileNetV2 as a table: which layers hold weights, and of which shapes, for a given alpha.

It lets a weights file be checked, and a wrong one be named, before any framework is loaded. The tests hold it against
the model that Keras builds. Source: keras.applications.mobilenet_v2; Sandler et al., arXiv:1801.04381, table 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.signature import dimension

KNOWN_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
"""The widths that ImageNet weights exist for."""

BLOCKS = (
    # (filters before alpha, stride, expansion), one for each inverted residual block.
    (16, 1, 1),
    *((24, 2, 6), (24, 1, 6)),
    *((32, 2, 6), (32, 1, 6), (32, 1, 6)),
    *((64, 2, 6), (64, 1, 6), (64, 1, 6), (64, 1, 6)),
    *((96, 1, 6), (96, 1, 6), (96, 1, 6)),
    *((160, 2, 6), (160, 1, 6), (160, 1, 6)),
    (320, 1, 6),
)

Shape = tuple[int, ...]
Array = NDArray[np.float32]
Tensors = dict[str, list[Array]]
"""By layer name: its tensors in Keras' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShapes:
    """One layer that holds weights: Keras' name and class of it, and the shapes of its tensors in Keras' order."""

    name: str
    kind: str
    shapes: tuple[Shape, ...]


def layers(alpha: float) -> tuple[LayerShapes, ...]:
    """The layers of MobileNetV2 without its top that hold weights, in the model's order."""
    return tuple(_layers(alpha))


def divisible(value: float) -> int:
    """`value` rounded to a multiple of eight, but never down by more than a tenth."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def _layers(alpha: float) -> Iterator[LayerShapes]:
    channels = divisible(32 * alpha)
    yield _convolution("Conv1", 3, 3, channels)
    yield _normalisation("bn_Conv1", channels)
    for block, (filters, _stride, expansion) in enumerate(BLOCKS):
        out = divisible(int(filters * alpha))
        yield from _block(block, channels, channels * expansion, out)
        channels = out
    yield _convolution("Conv_1", 1, channels, dimension(alpha))
    yield _normalisation("Conv_1_bn", dimension(alpha))


def _block(block: int, inputs: int, expanded: int, outputs: int) -> Iterator[LayerShapes]:
    prefix = f"block_{block}_" if block else "expanded_conv_"
    if block:
        yield _convolution(f"{prefix}expand", 1, inputs, expanded)
        yield _normalisation(f"{prefix}expand_BN", expanded)
    yield LayerShapes(name=f"{prefix}depthwise", kind="depthwise_conv2d", shapes=((3, 3, expanded, 1),))
    yield _normalisation(f"{prefix}depthwise_BN", expanded)
    yield _convolution(f"{prefix}project", 1, expanded, outputs)
    yield _normalisation(f"{prefix}project_BN", outputs)


def _convolution(name: str, side: int, inputs: int, outputs: int) -> LayerShapes:
    return LayerShapes(name=name, kind="conv2d", shapes=((side, side, inputs, outputs),))


def _normalisation(name: str, channels: int) -> LayerShapes:
    return LayerShapes(name=name, kind="batch_normalization", shapes=((channels,),) * 4)
