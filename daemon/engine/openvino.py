"""The OpenVINO engine: the Keras model, converted once, on all cores of a CPU; TensorFlow is never imported.

Each image is a request of its own, one for each core at a time. On two cores that was about as fast as the best
of all larger batches (the activations of one image stay in the cache), nothing is ever padded, and an image's vector is
the same to the bit whatever company it comes in. A lone image is spread over all cores instead, for its latency.
"""

import os
from typing import Any

import numpy as np

from daemon.engine.kept_models import converted
from daemon.engine.protocol import EngineInfo, EngineOptions, ModelSpec
from daemon.engine.quiet import import_openvino
from daemon.engine.rows import checked, marked
from daemon.errors import EngineError
from daemon.records import Pixels, Vectors
from daemon.signature import dimension

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""`engine.precision` in the words of INFERENCE_PRECISION_HINT."""

CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
"""The same in the words of OPTIMIZATION_CAPABILITIES."""

REQUESTS_PER_CORE = 4
"""Handed in ahead, so that no core waits for Python: with one for each, batches of 8 and 32 took a tenth longer."""


class OpenVinoEngine:
    """A converted model on the CPU. Raises `EngineError` when it cannot be made or this CPU lacks the precision."""

    def __init__(self, spec: ModelSpec, options: EngineOptions, *, fallback: str = "") -> None:
        self._openvino = import_openvino()
        self._spec, self._options, self._fallback = spec, options, fallback
        self._core: Any = self._openvino.Core()
        self._refuse_lacking_precision()
        threads = len(os.sched_getaffinity(0))
        self._portion = REQUESTS_PER_CORE * threads
        path = converted(spec, options.state_dir, options.still_wanted)
        try:
            model = self._core.read_model(path)
            model.reshape([1, spec.input_size, spec.input_size, 3])
            self._one: Any = self._compile(model, threads, streams=1).create_infer_request()
            many = self._compile(model, threads, streams=threads)
            self._many: Any = self._openvino.AsyncInferQueue(many, self._portion)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot use the model {path}: {error}") from error
        self._many.set_callback(_keep)

    def warm_up(self) -> None:
        side = self._spec.input_size
        for rows in (1, 2 * self._portion):
            self.embed(np.zeros((rows, side, side, 3), np.uint8))

    def embed(self, pixels: Pixels) -> Vectors:
        pixels = checked(pixels, self._spec.input_size)
        vectors = np.empty((len(pixels), dimension(self._spec.alpha)), np.float32)
        try:
            if len(pixels) == 1:
                vectors[:] = self._one.infer([pixels], share_inputs=True, share_outputs=True)[0]
            else:
                self._embed_many(pixels, vectors)
        except RuntimeError as error:
            raise EngineError(f"the model failed in OpenVINO: {error}") from error
        return marked(vectors)

    def describe(self) -> EngineInfo:
        return EngineInfo(
            backend="openvino",
            version=str(self._openvino.__version__).partition("-")[0],
            device="cpu",
            device_name=str(self._core.get_property("CPU", "FULL_DEVICE_NAME")),
            precision=self._options.precision,
            dimension=dimension(self._spec.alpha),
            batch_sizes=(),
            batch_limit=self._options.batch_max,
            portion=self._portion,
            fallback=self._fallback,
        )

    def close(self) -> None:
        self._one = self._many = None

    def _embed_many(self, pixels: Pixels, vectors: Vectors) -> None:
        try:
            for row in range(len(pixels)):
                self._many.start_async([pixels[row : row + 1]], vectors[row], share_inputs=True)
        finally:
            # Requests read the pixels where they are, so none may go on without them.
            self._many.wait_all()

    def _compile(self, model: Any, threads: int, *, streams: int) -> Any:
        properties = {
            "INFERENCE_PRECISION_HINT": HINTS[self._options.precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
        }
        return self._core.compile_model(model, "CPU", properties)

    def _refuse_lacking_precision(self) -> None:
        precision = self._options.precision
        if CAPABILITIES[precision] not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError(f"this CPU cannot compute in {precision}: set engine.precision to float32")


def _keep(request: Any, vector: Vectors) -> None:
    """Copies a finished request's output into its row, before the request is used again."""
    vector[:] = request.get_output_tensor(0).data[0]
