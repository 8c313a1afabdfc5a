"""What differs between the frameworks that Keras runs on, and nothing else: devices, compiling, running, memory.

KERAS_BACKEND chooses: machines differ in the CUDA stack that they have. A call is asynchronous on a GPU: it copies the
pixels there and returns before the model is done, so the next batch is copied while this one runs; `result` waits.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from daemon.engine.quiet import import_keras, import_quietly
from daemon.errors import EngineError
from daemon.records import Pixels, Vectors

Call = Callable[[Pixels], Any]
"""Runs the compiled model on uint8 `[N, H, W, 3]`; what it gives is for `Backend.result` alone."""


class Backend(Protocol):
    """A framework below Keras, in one process and on one device."""

    name: str
    version: str
    any_rows: bool
    """Whether one compiled model takes any number of rows at full speed. Known after `use`."""

    def gpus(self) -> list[str]:
        """The names of the GPUs that this framework can use."""

    def use(self, gpu: int | None) -> None:
        """Decides on this GPU, or on the CPU. Before anything is built."""

    def scope(self) -> AbstractContextManager[Any]:
        """Within it, a model is built on the device."""

    def compile(self, model: Any, rows: int | None) -> Call:
        """The model, compiled for so many rows; None where `any_rows`."""

    def result(self, handle: Any) -> Vectors:
        """The vectors that a call gave, on the host."""

    def is_out_of_memory(self, error: Exception) -> bool: ...


class TensorFlow:
    """TensorFlow: a frozen function on the CPU, XLA on a GPU (on the CPU XLA is twelve times slower)."""

    name = "tensorflow"

    def __init__(self, *, memory_growth: bool) -> None:
        self._tf = import_quietly("tensorflow")
        self.version = str(self._tf.__version__)
        self.any_rows = True
        self._growth = memory_growth

    def gpus(self) -> list[str]:
        experimental = self._tf.config.experimental
        devices = self._tf.config.list_physical_devices("GPU")
        return [str(experimental.get_device_details(device).get("device_name", device.name)) for device in devices]

    def use(self, gpu: int | None) -> None:
        config = self._tf.config
        chosen = [] if gpu is None else [config.list_physical_devices("GPU")[gpu]]
        try:
            config.set_visible_devices(chosen, "GPU")
            for device in chosen:
                config.experimental.set_memory_growth(device, self._growth)
        except RuntimeError as error:
            raise EngineError(f"TensorFlow already works on another device in this process: {error}") from error
        # TF32 rounds to ten bits, and "float32" promises float32.
        config.experimental.enable_tensor_float_32_execution(enabled=False)
        self.any_rows = gpu is None

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def compile(self, model: Any, rows: int | None) -> Call:
        if self.any_rows:
            frozen = self.freeze(model, rows)
            return lambda pixels: frozen(self._tf.constant(pixels))[0]
        compiled = self._traced(model, rows, jit_compile=True)
        return lambda pixels: compiled(self._tf.constant(pixels))

    def freeze(self, model: Any, rows: int | None) -> Any:
        """The model as a concrete function whose weights are constants, so that normalisations are folded away."""
        convert = import_quietly("tensorflow.python.framework.convert_to_constants")
        return convert.convert_variables_to_constants_v2(self._traced(model, rows))

    def _traced(self, model: Any, rows: int | None, **how: bool) -> Any:
        signature = [self._tf.TensorSpec((rows, *model.input_shape[1:]), self._tf.uint8)]
        # Traced now rather than when called: each number of rows is a function of its own, and TensorFlow would take
        # several such for one that is traced over and over, and warn.
        return self._tf.function(
            _inference(model), input_signature=signature, autograph=False, **how
        ).get_concrete_function()

    def result(self, handle: Any) -> Vectors:
        return np.asarray(handle.numpy(), dtype=np.float32)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, self._tf.errors.ResourceExhaustedError) or "RESOURCE_EXHAUSTED" in str(error)


class Jax:
    """JAX: compiled by XLA ahead of time, for each number of rows."""

    name = "jax"
    any_rows = False

    def __init__(self, *, memory_growth: bool) -> None:
        # Read when JAX first looks for devices, which importing it does not.
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false" if memory_growth else "true"
        self._jax = import_quietly("jax")
        self.version = str(self._jax.__version__)
        self._device: Any = None

    def gpus(self) -> list[str]:
        try:
            return [str(device.device_kind) for device in self._jax.devices("gpu")]
        except RuntimeError:
            return []

    def use(self, gpu: int | None) -> None:
        self._device = self._jax.devices("cpu")[0] if gpu is None else self._jax.devices("gpu")[gpu]
        self._jax.config.update("jax_default_device", self._device)
        # As for TensorFlow: no TF32 in float32.
        self._jax.config.update("jax_default_matmul_precision", "highest")

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def compile(self, model: Any, rows: int | None) -> Call:
        trained = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]

        def infer(pixels: Any) -> Any:
            return model.stateless_call(trained, fixed, pixels, training=False)[0]

        shape = self._jax.ShapeDtypeStruct((rows, *model.input_shape[1:]), np.uint8)
        compiled = self._jax.jit(infer).lower(shape).compile()
        return lambda pixels: compiled(self._jax.device_put(pixels, self._device))

    def result(self, handle: Any) -> Vectors:
        return np.array(handle, dtype=np.float32)

    def is_out_of_memory(self, error: Exception) -> bool:
        return "RESOURCE_EXHAUSTED" in str(error)


class Torch:
    """PyTorch: eager on the CPU, torch.compile on a GPU; copies to the GPU go through pinned memory."""

    name = "torch"

    def __init__(self, *, memory_growth: bool) -> None:
        del memory_growth  # PyTorch's allocator always grows.
        self._torch = import_quietly("torch")
        self.version = str(self._torch.__version__)
        self.any_rows = True
        self._device = "cpu"

    def gpus(self) -> list[str]:
        cuda = self._torch.cuda
        return [str(cuda.get_device_name(index)) for index in range(cuda.device_count())]

    def use(self, gpu: int | None) -> None:
        self.any_rows = gpu is None
        self._device = "cpu" if gpu is None else f"cuda:{gpu}"
        # As for TensorFlow: no TF32 in float32.
        self._torch.backends.cuda.matmul.allow_tf32 = False
        self._torch.backends.cudnn.allow_tf32 = False

    def scope(self) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = import_keras().device(self._device)
        return scope

    def compile(self, model: Any, rows: int | None) -> Call:
        infer = _inference(model) if self.any_rows else self._fused(model, rows)

        def call(pixels: Pixels) -> Any:
            with self.scope(), self._torch.inference_mode():
                return infer(self._sent(pixels))

        return call

    def _fused(self, model: Any, rows: int | None) -> Any:
        """One graph for torch.compile. Given Keras' own layers it would stop at each, and soon give up altogether."""
        module = self._torch.nn.Module()
        module.model, module.forward = model, _inference(model)
        sample = self._torch.zeros((rows, *model.input_shape[1:]), dtype=self._torch.uint8, device=self._device)
        with self.scope(), self._torch.no_grad():
            graph = self._torch.export.export(module.eval(), (sample,), strict=False).module()
        return self._torch.compile(graph, dynamic=False, fullgraph=True)

    def _sent(self, pixels: Pixels) -> Any:
        # A view of shared memory may be read-only, which PyTorch warns about.
        tensor = self._torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        return tensor if self.any_rows else tensor.pin_memory().to(self._device, non_blocking=True)

    def result(self, handle: Any) -> Vectors:
        return np.asarray(handle.cpu().numpy(), dtype=np.float32)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, self._torch.OutOfMemoryError)


def open_backend(*, memory_growth: bool) -> Backend:
    """The framework that Keras runs on in this process. Raises `EngineError` when there is none that is known."""
    keras = import_keras()
    known: dict[str, type[TensorFlow | Jax | Torch]] = {"tensorflow": TensorFlow, "jax": Jax, "torch": Torch}
    name = keras.backend.backend()
    if name not in known:
        raise EngineError(f"KERAS_BACKEND is {name!r}; vectord knows {', '.join(known)}")
    return known[name](memory_growth=memory_growth)


def _inference(model: Any) -> Callable[[Any], Any]:
    return lambda pixels: model(pixels, training=False)
