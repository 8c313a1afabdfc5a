"""`python -m daemon`, with a model that goes wrong in the way that the file $FAULTS_ENGINE says, while it is there.

`nan`: no vector for pictures that are red all over. `memory N`: the device has room for no more than N images at once.
`error`: the device is out of order.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from daemon import cli
from daemon.engine.backends import Call, TensorFlow
from daemon.engine.openvino import OpenVinoEngine
from daemon.errors import EngineError
from daemon.records import Pixels, Vectors

SIGN = Path(os.environ["FAULTS_ENGINE"])
_compile = TensorFlow.compile
_embed = OpenVinoEngine.embed


def ordered() -> tuple[str, int]:
    """What is to go wrong now, and a number with it."""
    words = SIGN.read_text().split() if SIGN.exists() else []
    return (words[0] if words else "", int(words[1]) if len(words) > 1 else 0)


def red(pixels: Pixels) -> Any:
    """Which of these pictures are red all over."""
    means = pixels.mean(axis=(1, 2))
    return (means[:, 0] > 200) & (means[:, 1:].max(axis=1) < 60)


def embed(engine: OpenVinoEngine, pixels: Pixels) -> Vectors:
    """As a network does it in which a number overflowed, or a device that stopped answering."""
    deed, _ = ordered()
    if deed == "error":
        raise EngineError("the model failed on gpu:0 (key engine.device): an illegal memory access was encountered")
    vectors = _embed(engine, pixels)
    if deed == "nan":
        vectors[red(pixels)] = np.nan
    return vectors


def compile_for_little(backend: TensorFlow, model: Any, rows: int | None) -> Call:
    """Calls that TensorFlow refuses as it does on a GPU whose memory is taken."""
    call = _compile(backend, model, rows)

    def limited(pixels: Pixels) -> Any:
        deed, limit = ordered()
        if deed == "memory" and len(pixels) > limit:
            raise backend._tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating {pixels.shape}")
        return call(pixels)

    return limited


setattr(OpenVinoEngine, "embed", embed)  # noqa: B010 - a plain assignment would need its type ignored
setattr(TensorFlow, "compile", compile_for_little)  # noqa: B010 - as above

if __name__ == "__main__":
    cli.main()
