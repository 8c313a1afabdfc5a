"""The tensors of MobileNetV2, read out of a weights file and checked before any framework sees them.

Only arrays are read: nothing in a file is deserialised into code, a `.keras` archive's layers are never built, and
links or data that lead out of the file are refused. Three layouts are known:

    Keras H5 (weights or whole model)   attribute `layer_names`, datasets `Conv1/Conv1/kernel`
    Keras 3 H5 (`.weights.h5`)          datasets `layers/conv2d/vars/0`, attribute `name` of the layer
    `.keras`                            a ZIP archive with such a file as `model.weights.h5`

Layers beyond the backbone (a classifier on top) are left out; a backbone nested in another model is found.
"""

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # It has no annotations.
import numpy as np

from daemon.engine.architecture import KNOWN_ALPHAS, Array, LayerShapes, Tensors, layers
from daemon.errors import EngineError

LARGEST_FILE = 256 * 1024 * 1024
"""Bytes. The largest MobileNetV2 with its top, alpha 1.4, has 25 MB; with an optimiser's state three times that."""

ORDER = ("kernel", "depthwise_kernel", "gamma", "beta", "moving_mean", "moving_variance")
"""Keras' names of a layer's variables, in the order of `Layer.weights`."""

DAMAGE = (KeyError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What h5py, zipfile and json raise over bytes that are not what they claim, beside OSError."""


def read_tensors(path: Path, alpha: float) -> Tensors:
    """The tensors of MobileNetV2 with this alpha from the file at `path`.

    Raises `EngineError`, one sentence that names the file, when they are not what is in it.
    """
    expected = layers(alpha)
    found = _by_name(_read(path), expected)
    _check(path, found, expected, alpha)
    return {layer.name: found[layer.name] for layer in expected}


def _check(path: Path, found: Tensors, expected: tuple[LayerShapes, ...], alpha: float) -> None:
    missing = [layer.name for layer in expected if layer.name not in found]
    if missing:
        raise EngineError(
            f"{path} is not a MobileNetV2: it has no layer {missing[0]!r} ({len(missing)} of {len(expected)} missing)"
        )
    if wrong := _first_mismatch(found, expected):
        fitting = [other for other in KNOWN_ALPHAS if not _first_mismatch(found, layers(other))]
        hint = f"it fits model.alpha = {fitting[0]}" if fitting else "it fits no alpha that Keras knows"
        raise EngineError(f"{path} has weights of another width than model.alpha = {alpha}: {wrong}; {hint}")
    for layer in expected:
        if not all(np.isfinite(array).all() for array in found[layer.name]):
            raise EngineError(f"{path} has NaN or infinity in layer {layer.name!r}")


def _first_mismatch(found: Tensors, expected: tuple[LayerShapes, ...]) -> str:
    for layer in expected:
        shapes = tuple(array.shape for array in found.get(layer.name, ()))
        if shapes != layer.shapes:
            return f"layer {layer.name!r} is {_show(shapes)} and should be {_show(layer.shapes)}"
    return ""


def _show(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(" x ".join(map(str, shape)) for shape in dict.fromkeys(shapes)) or "empty"


def _by_name(found: Tensors, expected: tuple[LayerShapes, ...]) -> Tensors:
    """Under Keras' present names: those, Keras 3's numbers, or the file's order (Keras once named otherwise)."""
    present = [layer.name for layer in expected]
    for names in (present, _counted(expected)):
        if all(name in found for name in names):
            return {name: found[given] for name, given in zip(present, names, strict=True)}
    in_order = dict(zip(present, found.values(), strict=False))
    fits_some = len(found) >= len(expected) and any(not _first_mismatch(in_order, layers(a)) for a in KNOWN_ALPHAS)
    return in_order if fits_some else found


def _counted(expected: tuple[LayerShapes, ...]) -> list[str]:
    """Keras 3's names inside a file: `conv2d`, `conv2d_1` and so on, each class counted by itself."""
    counts: dict[str, int] = {}
    names = []
    for layer in expected:
        count = counts.setdefault(layer.kind, 0)
        names.append(f"{layer.kind}_{count}" if count else layer.kind)
        counts[layer.kind] += 1
    return names


def _read(path: Path) -> Tensors:
    """All layers of the file that hold weights. Raises `EngineError` when it is no weights file."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise EngineError(f"{path} is too large for a MobileNetV2 ({path.stat().st_size} bytes)")
        return _read_archive(path) if zipfile.is_zipfile(path) else _read_hdf5(path, path)
    except OSError as error:
        # h5py raises OSError for all that is wrong with the bytes, and so does the disk.
        raise EngineError(
            f"{path} cannot be read as Keras weights, it is damaged or something else: {error}"
        ) from error
    except DAMAGE as error:
        raise EngineError(f"{path} is damaged: {error}") from error


def _read_archive(path: Path) -> Tensors:
    with zipfile.ZipFile(path) as archive:
        _refuse_code(path, json.loads(_member(path, archive, "config.json")))
        return _read_hdf5(path, io.BytesIO(_member(path, archive, "model.weights.h5")))


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise EngineError(f"{path} is a ZIP archive but no .keras file: it holds no {name}")
    # The size that the archive claims may be a lie, so the reading is bounded as well.
    with archive.open(name) as member:
        content = member.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise EngineError(f"{path} unpacks to more than a MobileNetV2 can need")
    return content


def _refuse_code(path: Path, config: Any) -> None:
    """A Lambda would change what the model computes, and running code out of a file is out of the question."""
    if any(node.get("class_name") == "Lambda" for node in _nodes(config)):
        raise EngineError(f"{path} holds a Lambda layer, which is code; save the model without it")


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _read_hdf5(path: Path, source: Path | io.BytesIO) -> Tensors:
    with h5py.File(source, "r") as file:
        root = file.get("model_weights", file)
        named = _legacy(path, root) if "layer_names" in root.attrs else _numbered(path, file)
        return _grouped(named)


def _grouped(named: Iterator[tuple[str, str, Array]]) -> Tensors:
    """A layer's tensors together. Two layers of one name come together too, and then their shapes fit nothing."""
    by_layer: dict[str, list[tuple[str, Array]]] = {}
    for layer, variable, array in named:
        by_layer.setdefault(layer, []).append((variable, array))
    return {layer: [array for _, array in sorted(group, key=_position)] for layer, group in by_layer.items()}


def _position(item: tuple[str, Array]) -> int:
    variable = item[0]
    return int(variable) if variable.isdigit() else ORDER.index(variable) if variable in ORDER else len(ORDER)


def _legacy(path: Path, root: Any) -> Iterator[tuple[str, str, Array]]:
    """(layer, variable, array) of Keras' own H5 layout; `bn_Conv1/gamma:0` is what Keras 2 wrote."""
    for layer in _strings(root.attrs["layer_names"]):
        group = _inside(path, root, layer)
        for weight in _strings(group.attrs["weight_names"]):
            owner, _, variable = weight.removesuffix(":0").rpartition("/")
            yield owner.rpartition("/")[2], variable, _array(path, group, weight)


def _numbered(path: Path, file: Any) -> Iterator[tuple[str, str, Array]]:
    """(layer, variable, array) of Keras 3's layout, in which a layer's name may be an attribute."""
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        owner, _, variable = name.rpartition("/vars/")
        if owner and variable.isdigit():
            group = file[f"{owner}/vars"]
            yield str(group.attrs.get("name", owner.rpartition("/")[2])), variable, _array(path, group, variable)


def _inside(path: Path, root: Any, name: str) -> Any:
    """What lies under `name`, if it lies in this very file: a link may point at any file of the machine."""
    group = root
    for part in name.strip("/").split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise EngineError(f"{path} is damaged or hostile: {name!r} is missing or leads out of the file")
        group = group[part]
    return group


def _array(path: Path, group: Any, name: str) -> Array:
    dataset = _inside(path, group, name)
    if dataset.external or dataset.is_virtual:
        raise EngineError(f"{path} is hostile: the data of {name!r} lie in another file")
    if dataset.nbytes > LARGEST_FILE:
        raise EngineError(f"{path} is damaged or hostile: {name!r} claims {dataset.nbytes} bytes")
    return np.asarray(dataset, dtype=np.float32)


def _strings(values: Mapping[int, Any] | Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
