"""MobileNetV2 in PyTorch's own layers, from the same tensors: a contender for `benchmarks.gpu`."""

from importlib import import_module
from typing import Any

import numpy as np

from daemon.engine.architecture import BLOCKS, Tensors
from daemon.engine.protocol import ModelSpec
from daemon.engine.weights import load_weights

# Not among vectord's requirements: whoever measures it has installed it.
torch: Any = import_module("torch")

EPSILON = 1e-3
"""Of Keras' MobileNetV2's batch normalisation."""


def torch_model(spec: ModelSpec) -> Any:
    """A `torch.nn.Module` from uint8 `[N, H, W, 3]` to unit float32 `[N, D]`, scaling "tf"."""
    tensors = load_weights(spec.weights, spec.alpha)
    backbone = torch.nn.Sequential(
        *_convolution(tensors, "Conv1", "bn_Conv1", spec.input_size, stride=2),
        *_blocks(tensors, -(-spec.input_size // 2)),
        *_convolution(tensors, "Conv_1", "Conv_1_bn", 1),
    )

    class Model(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not there for the type checker.
        """Scaling, the backbone, pooling and unit length."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, pixels: Any) -> Any:
            kind = next(self.backbone.parameters()).dtype
            scaled = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).to(kind, memory_format=torch.channels_last)
            pooled = self.backbone(scaled).float().mean(dim=(2, 3))
            return torch.nn.functional.normalize(pooled)

    return Model().eval()


class _Residual(torch.nn.Module):  # type: ignore[misc]  # As above.
    """What goes in, added to what comes out."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Any) -> Any:
        return features + self.inner(features)


def _blocks(tensors: Tensors, side: int) -> list[Any]:
    blocks = []
    for number, (_, stride, _) in enumerate(BLOCKS):
        prefix = f"block_{number}_" if number else "expanded_conv_"
        layers = _convolution(tensors, f"{prefix}expand", f"{prefix}expand_BN", side) if number else []
        layers += _convolution(tensors, f"{prefix}depthwise", f"{prefix}depthwise_BN", side, stride=stride)
        layers += _convolution(tensors, f"{prefix}project", f"{prefix}project_BN", side, relu=False)
        block = torch.nn.Sequential(*layers)
        unchanged = number and stride == 1 and layers[0].in_channels == layers[-2].out_channels
        blocks.append(_Residual(block) if unchanged else block)
        side = -(-side // stride)
    return blocks


def _convolution(
    tensors: Tensors, name: str, normalisation: str, side: int, *, stride: int = 1, relu: bool = True
) -> list[Any]:
    (kernel,) = tensors[name]
    depthwise = name.endswith("depthwise")
    weights = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1))
    size, outputs = kernel.shape[0], weights.shape[0]
    inputs = outputs if depthwise else weights.shape[1]
    # TensorFlow's "same": one less before than after where the side is even and the stride 2.
    before = 0 if size == 1 or (stride == 2 and side % 2 == 0) else 1
    after = 0 if size == 1 else 1
    convolution = torch.nn.Conv2d(inputs, outputs, size, stride, bias=False, groups=inputs if depthwise else 1)
    convolution.weight.data = torch.from_numpy(weights)
    normal = torch.nn.BatchNorm2d(outputs, eps=EPSILON)
    places = (normal.weight.data, normal.bias.data, normal.running_mean, normal.running_var)
    for place, array in zip(places, tensors[normalisation], strict=True):
        place.copy_(torch.from_numpy(array))
    padding = [torch.nn.ZeroPad2d((before, after, before, after))] if after else []
    return [*padding, convolution, normal, *([torch.nn.ReLU6()] if relu else [])]
