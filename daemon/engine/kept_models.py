"""Converted models, kept: made once for each weights file, alpha, size, scaling and version, and checked when read."""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from daemon.engine.convert import MODEL, TENSORS, convert_in_child
from daemon.engine.durable import put_folder
from daemon.engine.protocol import ModelSpec
from daemon.engine.weights import load_weights
from daemon.errors import EngineError
from daemon.wanted import StillWanted, always

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised by whoever changes what `network.build` computes, so that no older conversion is used."""

MAKING = ".making-"
STALE_SECONDS = 86_400.0
"""A conversion is ended after ten minutes. What is left of an older one is a killed process's."""

DIGESTS = "sha256.json"
"""Written last: a folder without it is not a whole conversion."""


def converted(spec: ModelSpec, state_dir: Path, still_wanted: StillWanted = always) -> Path:
    """The path of the OpenVINO model of `spec`, below `state_dir`/openvino; made now if it is missing or damaged.

    Raises `EngineError` when it cannot be made or kept, and whatever `still_wanted` does meanwhile.
    """
    folder = state_dir / "openvino" / key(spec)
    if not _is_whole(folder):
        if folder.exists():
            log.warning("the converted model in %s is damaged and is made anew", folder)
        _make(spec, folder, still_wanted)
    return folder / MODEL


def key(spec: ModelSpec) -> str:
    """The name of a conversion: all that it depends on. Precision is none of it: that is chosen later."""
    parts = [
        FORMAT,
        spec.weights.digest,
        spec.alpha,
        spec.input_size,
        spec.scaling,
        *map(_version, ("openvino", "keras")),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _make(spec: ModelSpec, folder: Path, still_wanted: StillWanted) -> None:
    # The child would say the same of wrong weights, but only once it has imported TensorFlow.
    load_weights(spec.weights, spec.alpha)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=MAKING) as making:
            whole = Path(making) / folder.name
            whole.mkdir()
            convert_in_child(spec, whole, still_wanted)
            (whole / DIGESTS).write_text(json.dumps(_digests(whole)))
            _replace(whole, folder)
    except OSError as error:
        raise EngineError(
            f"the converted model cannot be kept in {folder} (key database.state_dir): {error}"
        ) from error


def _clear(parent: Path) -> None:
    """Takes away what killed processes left."""
    for left in parent.glob(f"{MAKING}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)


def _replace(whole: Path, folder: Path) -> None:
    """Puts the new folder in place. Another daemon may have been quicker, which is as good."""
    if _is_whole(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        put_folder(whole, folder)
    except OSError:
        if not _is_whole(folder):
            raise


def _is_whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / DIGESTS).read_text()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, TENSORS)}
