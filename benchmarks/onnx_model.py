"""MobileNetV2 as an ONNX model, written node by node from the same tensors: a contender for `benchmarks.engine`.

Keras' own export to ONNX goes through tf2onnx, which is behind NumPy 2.4, or through PyTorch, which is large.
"""

from importlib import import_module
from itertools import count
from typing import Any

import numpy as np

from daemon.engine.architecture import BLOCKS, Tensors
from daemon.engine.protocol import ModelSpec
from daemon.engine.weights import load_weights
from daemon.signature import dimension

# Of requirements-bench.txt: the type checker does without it.
onnx: Any = import_module("onnx")

OPSET = 17
EPSILON = 1e-3
"""Of Keras' MobileNetV2's batch normalisation."""


class _Writer:
    """The nodes so far, and the name of the last output."""

    def __init__(self, tensors: Tensors) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "pixels"
        self._tensors = tensors
        self._names = (f"t{number}" for number in count())

    def add(self, kind: str, *constants: Any, **attributes: Any) -> None:
        names = [self.constant(array) for array in constants]
        self.nodes.append(onnx.helper.make_node(kind, [self.last, *names], [output := next(self._names)], **attributes))
        self.last = output

    def constant(self, array: Any) -> str:
        self.constants.append(onnx.numpy_helper.from_array(array, name := next(self._names)))
        return name

    def convolve(self, name: str, normalisation: str, *, stride: int = 1, relu: bool = True) -> None:
        (kernel,) = self._tensors[name]
        depthwise = name.endswith("depthwise")
        # Keras keeps [height, width, in, out], of a depthwise kernel [height, width, in, 1]; ONNX wants [out, in, ...].
        weights = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
        self.add(
            "Conv",
            np.ascontiguousarray(weights),
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=kernel.shape[2] if depthwise else 1,
        )
        self.add("BatchNormalization", *self._tensors[normalisation], epsilon=EPSILON)
        if relu:
            self.add("Clip", np.float32(0.0), np.float32(6.0))

    def block(self, number: int, stride: int) -> None:
        prefix, before = f"block_{number}_" if number else "expanded_conv_", self.last
        if number:
            self.convolve(f"{prefix}expand", f"{prefix}expand_BN")
        self.convolve(f"{prefix}depthwise", f"{prefix}depthwise_BN", stride=stride)
        self.convolve(f"{prefix}project", f"{prefix}project_BN", relu=False)
        if number and stride == 1 and self._unchanged(prefix):
            self.nodes.append(onnx.helper.make_node("Add", [before, self.last], [output := next(self._names)]))
            self.last = output

    def _unchanged(self, prefix: str) -> bool:
        return bool(self._tensors[f"{prefix}expand"][0].shape[2] == self._tensors[f"{prefix}project"][0].shape[3])


def onnx_model(spec: ModelSpec) -> Any:
    """From uint8 `[N, H, W, 3]` to unit float32 `[N, D]`, scaling "tf"."""
    writer = _Writer(load_weights(spec.weights, spec.alpha))
    writer.add("Cast", to=onnx.TensorProto.FLOAT)
    writer.add("Mul", np.float32(1 / 127.5))
    writer.add("Sub", np.float32(1.0))
    writer.add("Transpose", perm=[0, 3, 1, 2])
    writer.convolve("Conv1", "bn_Conv1", stride=2)
    for number, (_, stride, _) in enumerate(BLOCKS):
        writer.block(number, stride)
    writer.convolve("Conv_1", "Conv_1_bn")
    writer.add("ReduceMean", axes=[2, 3], keepdims=0)
    writer.add("LpNormalization", axis=1, p=2)
    return _model(writer, spec)


def _model(writer: _Writer, spec: ModelSpec) -> Any:
    side = spec.input_size
    graph = onnx.helper.make_graph(
        writer.nodes,
        "mobilenetv2",
        [onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["N", side, side, 3])],
        [onnx.helper.make_tensor_value_info(writer.last, onnx.TensorProto.FLOAT, ["N", dimension(spec.alpha)])],
        writer.constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model
