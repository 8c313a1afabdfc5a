"""What an engine is: the records that describe one, and the four things it does.

    uint8 [N, H, W, 3] ─ scale ─ MobileNetV2 ─ average pool ─ unit length ─ float32 [N, D]

All of it happens inside one compiled graph, so a batch costs one copy in and one copy out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from daemon.records import Pixels, Vectors
from daemon.wanted import StillWanted, always

Scaling = Literal["tf", "unit"]
Precision = Literal["float32", "bfloat16", "float16"]
BackendChoice = Literal["auto", "tensorflow", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """Where the weights are, and their SHA-256 in hex. No path: drawn weights (`weights.UNTRAINED`)."""

    path: Path | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that decides a vector's value: the keys of `[model]`, with the weights found."""

    alpha: float
    input_size: int
    scaling: Scaling
    weights: WeightsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How and where to run it: the keys of `[engine]`, the folder for compiled models, and whether one that is being
    made is still wanted.
    """

    state_dir: Path
    backend: BackendChoice = "auto"
    device: str = "auto"
    """"auto", "cpu", "gpu" or "gpu:1"."""
    memory_growth: bool = True
    precision: Precision = "float32"
    batch_max: int = 32
    still_wanted: StillWanted = always


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine is at this moment. Asked again after an embed, it tells of memory that ran out."""

    backend: str
    """"openvino", or what Keras runs on: "tensorflow", "jax", "torch"."""
    version: str
    """Of that backend."""
    device: str
    """"cpu", or "gpu:0" and so on."""
    device_name: str
    precision: str
    dimension: int
    batch_sizes: tuple[int, ...]
    """Rows that one call of the compiled model takes: a batch is cut into these, and what is left over is padded.
    Empty: any number, and nothing is ever padded."""
    batch_limit: int
    """Images worth collecting for one `embed`: `engine.batch_max`, halved whenever the device's memory ran out."""
    portion: int = 0
    """So many images of one `embed` cost no more each than any larger number, so a batch may as well be embedded bit by
    bit. 0: the larger, the cheaper each."""
    out_of_memory: int = 0
    """How often the device's memory ran out since the start."""
    fallback: str = ""
    """Why "auto" did not take what it would have preferred. Empty: it did."""


class Engine(Protocol):
    """A model that is ready to run. One thread at a time may call it."""

    def warm_up(self) -> None:
        """Runs every batch shape once, so that no image pays for it. Raises `EngineError`."""

    def embed(self, pixels: Pixels) -> Vectors:
        """The vectors of uint8 `[N, H, W, 3]`, N >= 1, in order: float32 `[N, D]`, each of unit length.

        An image whose vector cannot be one (the model gave NaN, infinity or only zeros) has NaN in its whole row, and
        its neighbours are right.

        Raises `ValueError` for pixels of another shape or type, `EngineMemoryError` when the device has too little
        memory for even the smallest batch, `EngineError` when the model fails otherwise.
        """

    def describe(self) -> EngineInfo: ...

    def close(self) -> None:
        """Lets go of the model. Harmless when done twice, and `describe` still answers: somebody may just be asking."""
