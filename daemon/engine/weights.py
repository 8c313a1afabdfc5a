"""Finding the weights: a file of the user's, Keras' own for ImageNet (fetched once), or drawn ones for a demo."""

import errno
import hashlib
import logging
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from daemon.engine.architecture import Array, LayerShapes, Tensors, layers
from daemon.engine.download import download
from daemon.engine.durable import put_file
from daemon.engine.protocol import WeightsFile
from daemon.errors import EngineError
from daemon.wanted import StillWanted, always

log = logging.getLogger(__name__)

IMAGENET = "imagenet"
UNTRAINED = "untrained"
"""Drawn weights, the same on every machine: they tell pictures apart by colour and texture, nothing more."""

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
"""Source: keras.applications.mobilenet_v2, BASE_WEIGHT_PATH. Keras knows no hash for these files."""

IMAGENET_SIZES = (96, 128, 160, 192, 224)
"""Input sizes that have ImageNet weights of their own; the others take those of 224."""

UNWRITABLE = frozenset({errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS})
"""What says of a failed fetch that the disk is to blame, and no server."""

SEED = 20180113
"""Of the drawn weights; another seed is another model, and so is in their digest."""


def find_weights(
    weights: str,
    *,
    alpha: float,
    input_size: int,
    state_dir: Path,
    timeout: float = 10.0,
    base_url: str = BASE_URL,
    still_wanted: StillWanted = always,
) -> WeightsFile:
    """The weights that `model.weights` names: "imagenet", "untrained", or the path of an H5 or .keras file.

    Fetched ones are kept in `state_dir`/weights, and fetched anew where they are damaged there. `timeout` is how many
    seconds the server may keep silent.

    Raises `EngineError` when they cannot be had, and whatever `still_wanted` does meanwhile.
    What is in a file is checked when an engine opens it.
    """
    if weights == UNTRAINED:
        return WeightsFile(path=None, digest=hashlib.sha256(f"{UNTRAINED}|{alpha}|{SEED}".encode()).hexdigest())
    try:
        # A child process that converts the model works in another folder.
        path = Path(weights).expanduser().absolute()
    except RuntimeError as error:
        raise EngineError(f"model.weights: {weights} leads nowhere: {error}") from error
    if weights == IMAGENET:
        path = state_dir / "weights" / imagenet_name(alpha, input_size)
        if not _is_kept(path, alpha):
            _fetch(base_url + path.name, path, alpha, timeout, still_wanted)
    return WeightsFile(path=path, digest=_digest(path))


def load_weights(weights: WeightsFile, alpha: float) -> Tensors:
    """The tensors themselves, checked. Raises `EngineError`, also where the file is another one by now."""
    if weights.path is None:
        return draw(alpha)
    tensors = _read(weights.path, alpha)
    if _digest(weights.path) != weights.digest:
        # Its vectors would bear the name of the file that was there before.
        raise EngineError(f"the weights {weights.path} (key model.weights) were replaced at this moment: start again")
    return tensors


def imagenet_name(alpha: float, input_size: int) -> str:
    """Keras' name of the ImageNet weights without top: by alpha, and by the rows of the pictures they learnt from."""
    rows = input_size if input_size in IMAGENET_SIZES else 224
    return f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}_no_top.h5"


def draw(alpha: float, seed: int = SEED) -> Tensors:
    """Drawn weights that keep the scale of the features through all layers, and normalisations that do nothing.

    Source: He et al., arXiv:1502.01852, equation 10; a projection, which no ReLU follows, has half the variance.
    (Keras' own initialisation shrinks the features below what float16 can tell from zero.)
    """
    generator = np.random.Generator(np.random.Philox(seed))
    return {layer.name: list(_draw_layer(layer, generator)) for layer in layers(alpha)}


def _draw_layer(layer: LayerShapes, generator: np.random.Generator) -> Iterator[Array]:
    if layer.kind == "batch_normalization":
        yield from (np.full(shape, value, np.float32) for shape, value in zip(layer.shapes, (1, 0, 0, 1), strict=True))
        return
    gain = 1.0 if layer.name.endswith("project") else 2.0
    for shape in layer.shapes:
        # Each channel of a depthwise kernel sees only itself.
        inputs = math.prod(shape[:2] if layer.kind == "depthwise_conv2d" else shape[:3])
        yield generator.normal(0.0, math.sqrt(gain / inputs), shape).astype(np.float32)


def _read(path: Path, alpha: float) -> Tensors:
    from daemon.engine.tensors import read_tensors  # noqa: PLC0415  # A warm start has no use for h5py.

    return read_tensors(path, alpha)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineError(f"the weights {path} (key model.weights) cannot be read: {error.strerror}") from error


def _is_kept(path: Path, alpha: float) -> bool:
    """Whether fetched weights are there and whole."""
    # Path.is_file raises where a folder may not be searched.
    if not os.path.isfile(path):  # noqa: PTH113
        return False
    digest = _digest(path)
    if _noted(path) == digest:
        return True
    try:
        _read(path, alpha)
    except EngineError as error:
        log.warning("the ImageNet weights in %s are damaged and are fetched anew: %s", path.parent, error)
        return False
    _note(path, digest)
    return True


def _noted(path: Path) -> str:
    """The digest of what was once read to its end here, so that not every start has to."""
    with suppress(OSError, ValueError, IndexError):
        return _note_of(path).read_text().split()[0]
    return ""


def _note(path: Path, digest: str) -> None:
    # Without it the next start takes a little longer.
    with suppress(OSError):
        _note_of(path).write_text(f"{digest}  {path.name}\n")


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _fetch(url: str, path: Path, alpha: float, timeout: float, still_wanted: StillWanted) -> None:
    """Fetches the file to `path`, which either appears whole and right or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            download(url, part, timeout, still_wanted)
            _read(part, alpha)
            digest = _digest(part)
            put_file(part, path)
        _note(path, digest)
    except (OSError, EngineError) as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise EngineError(
                f"the ImageNet weights cannot be kept in {path.parent} (key database.state_dir): {error.strerror}; "
                "mend that, or name a file that is somewhere else in the key model.weights"
            ) from error
        raise EngineError(
            f"the ImageNet weights could not be fetched from {url} ({error}); fetch that file elsewhere and name its "
            f"path in the key model.weights, or put it at {path}"
        ) from error
