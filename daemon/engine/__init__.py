"""The engine: uint8 pictures in, unit vectors out, the same ones whatever runs it.

Importing this package imports neither TensorFlow nor OpenVINO: `open_engine` does, and only the one it needs.

    weights     finds the file, `tensors` reads and checks it against `architecture`
    network     the Keras model: scaling, MobileNetV2, pooling and normalisation
    keras       runs it on TensorFlow, JAX or PyTorch (`backend_*`), CPU or GPU
    openvino    runs the same model, converted once in a child process (`convert`), on the CPU
    choose      which of the two
"""

from daemon.engine.choose import open_engine
from daemon.engine.protocol import Engine, EngineInfo, EngineOptions, ModelSpec, WeightsFile
from daemon.engine.weights import find_weights

__all__ = ["Engine", "EngineInfo", "EngineOptions", "ModelSpec", "WeightsFile", "find_weights", "open_engine"]
