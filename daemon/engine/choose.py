"""Which engine: a GPU if there is one, otherwise OpenVINO, otherwise TensorFlow on the CPU; or what was asked for."""

from pathlib import Path

import numpy as np

from daemon.engine.backends import Backend, open_backend
from daemon.engine.keras import open_keras
from daemon.engine.openvino import OpenVinoEngine
from daemon.engine.protocol import Engine, EngineOptions, ModelSpec
from daemon.errors import EngineError

GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""What a GPU's driver puts into /dev: NVIDIA's, AMD's, that of Windows' Linux. Looking there takes no TensorFlow."""


def open_engine(spec: ModelSpec, options: EngineOptions, devices: Path = Path("/dev")) -> Engine:
    """The engine that these options name. `devices` is where the kernel shows its devices.

    Raises `EngineError`, one sentence with the remedy, when the model, the weights or the device cannot be used.
    """
    if options.backend == "openvino":
        return _open_openvino(spec, options)
    if options.backend == "tensorflow" or options.device.startswith("gpu"):
        return _open_keras(spec, options, devices)
    return _open_best(spec, options, devices)


def has_gpu_files(devices: Path) -> bool:
    """Whether some GPU's driver is loaded. Where not, no framework need be asked."""
    return any(True for pattern in GPU_FILES for _ in devices.glob(pattern))


def _open_best(spec: ModelSpec, options: EngineOptions, devices: Path) -> Engine:
    fallback = ""
    if options.device == "auto" and has_gpu_files(devices):
        try:
            return _open_gpu(spec, options, "gpu")
        except EngineError as error:
            fallback = str(error)
    try:
        return OpenVinoEngine(spec, options, fallback=fallback)
    except EngineError as error:
        fallback = "; ".join(filter(None, (fallback, str(error))))
    return open_keras(spec, options, open_backend(memory_growth=options.memory_growth), gpu=None, fallback=fallback)


def _open_openvino(spec: ModelSpec, options: EngineOptions) -> Engine:
    if options.device.startswith("gpu"):
        raise EngineError(
            f"engine.device is {options.device!r}, but vectord uses OpenVINO on the CPU alone: "
            "set engine.backend to tensorflow, or engine.device to cpu"
        )
    return OpenVinoEngine(spec, options)


def _open_keras(spec: ModelSpec, options: EngineOptions, devices: Path) -> Engine:
    if options.device.startswith("gpu"):
        return _open_gpu(spec, options, options.device)
    backend = open_backend(memory_growth=options.memory_growth)
    if options.device == "auto" and backend.gpus():
        return _open_gpu(spec, options, "gpu")
    unused = options.device == "auto" and has_gpu_files(devices)
    fallback = f"the machine has a GPU, but {backend.name} {backend.version} cannot use it" if unused else ""
    return open_keras(spec, options, backend, gpu=None, fallback=fallback)


def _open_gpu(spec: ModelSpec, options: EngineOptions, device: str) -> Engine:
    """An engine that has worked on the GPU once: a driver or CUDA library that does not fit shows no earlier."""
    backend = open_backend(memory_growth=options.memory_growth)
    gpu = _index(device, backend)
    try:
        engine = open_keras(spec, options, backend, gpu=gpu)
        engine.embed(np.zeros((1, spec.input_size, spec.input_size, 3), np.uint8))
    except EngineError:
        raise
    except Exception as error:
        # Whatever a framework raises over a device that it cannot set up.
        raise EngineError(f"engine.device is {device!r}, but {backend.name} cannot use it: {error}") from error
    return engine


def _index(device: str, backend: Backend) -> int:
    """The number of the GPU meant by "gpu" or "gpu:1". Raises `EngineError` when there is no such one."""
    index, found = int(device.partition(":")[2] or 0), backend.gpus()
    if index >= len(found):
        raise EngineError(
            f"engine.device is {device!r}, but {backend.name} {backend.version} finds "
            f"{len(found) or 'no'} usable GPU{'s' * (len(found) > 1)}: check its CUDA libraries and the driver, "
            "or set engine.device to cpu"
        )
    return index
