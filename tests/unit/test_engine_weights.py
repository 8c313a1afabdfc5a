"""Finding weights, reading every layout that Keras writes, and refusing what is not MobileNetV2 in one sentence."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py  # type: ignore[import-untyped]  # It has no annotations.
import numpy as np
import pytest

from daemon.engine.architecture import Tensors, layers
from daemon.engine.tensors import ORDER, read_tensors
from daemon.engine.weights import draw, find_weights, imagenet_name, load_weights
from daemon.errors import EngineError

ALPHA = 0.35
VARIABLES = {"conv2d": ("kernel",), "depthwise_conv2d": ("depthwise_kernel",), "batch_normalization": ORDER[2:]}
KINDS = {layer.name: layer.kind for layer in layers(ALPHA)}


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return draw(ALPHA)


def write_legacy(path: Path, tensors: Tensors, *, group: str = "", suffix: str = "", rename: str = "{}") -> None:
    """Keras' own H5 layout: `suffix` ":0" is what Keras 2 wrote, `group` is where a whole model has its weights."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        names = [rename.format(name) for name in tensors]
        root.attrs["layer_names"] = ["input_1", *names]
        root.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, arrays in zip(names, tensors.values(), strict=True):
            kind = KINDS.get(name, {1: "conv2d", 4: "batch_normalization"}[len(arrays)])
            weights = [f"{name}/{variable}{suffix}" for variable in VARIABLES[kind]]
            layer = root.create_group(name)
            layer.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in zip(weights, arrays, strict=True):
                layer[weight] = array


def write_nested(path: Path, tensors: Tensors) -> None:
    """A backbone inside another model: one group, the trainable tensors first, a classifier beside it."""
    flat = [
        (f"{name}/{variable}", array)
        for name, arrays in tensors.items()
        for variable, array in zip(VARIABLES[KINDS[name]], arrays, strict=True)
    ]
    flat.sort(key=lambda item: "moving" in item[0])
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = ["mobilenetv2", "dense"]
        for group, items in (("mobilenetv2", flat), ("dense", [("dense/kernel", np.zeros((1280, 3), np.float32))])):
            layer = root.create_group(group)
            layer.attrs["weight_names"] = [name for name, _ in items]
            for name, array in items:
                layer[name] = array


def write_numbered(path: Path | io.BytesIO, tensors: Tensors, *, prefix: str = "", named: bool = True) -> None:
    """Keras 3's layout, with the layers' names as attributes or, as before 3.8, without."""
    counts: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        for name, arrays in tensors.items():
            count = counts.setdefault(KINDS[name], 0)
            counts[KINDS[name]] += 1
            group = file.create_group(f"{prefix}layers/{KINDS[name]}{f'_{count}' if count else ''}/vars")
            if named:
                group.attrs["name"] = name
            for index, array in enumerate(arrays):
                group[str(index)] = array


def write_archive(path: Path, tensors: Tensors, config: object = None, *, named: bool = True) -> None:
    content = io.BytesIO()
    write_numbered(content, tensors, named=named)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config or {"class_name": "Functional"}))
        archive.writestr("model.weights.h5", content.getvalue())


WRITERS: dict[str, Callable[[Path, Tensors], None]] = {
    "weights.h5": write_legacy,
    "keras-2.h5": lambda path, tensors: write_legacy(path, tensors, suffix=":0"),
    "model.h5": lambda path, tensors: write_legacy(path, tensors, group="model_weights"),
    "other-names.h5": lambda path, tensors: write_legacy(path, tensors, rename="mobl_{}"),
    "nested.h5": write_nested,
    "numbered.weights.h5": write_numbered,
    "unnamed.weights.h5": lambda path, tensors: write_numbered(path, tensors, named=False),
    "nested.weights.h5": lambda path, tensors: write_numbered(path, tensors, prefix="layers/functional/"),
    "model.keras": write_archive,
    "unnamed.keras": lambda path, tensors: write_archive(path, tensors, named=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_gives_the_same_tensors(name: str, tensors: Tensors, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, tensors)
    read = read_tensors(tmp_path / name, ALPHA)
    assert list(read) == list(tensors)
    for layer, arrays in tensors.items():
        assert [array.tolist() for array in read[layer]] == [array.tolist() for array in arrays]


@pytest.mark.parametrize("name", ["weights.h5", "other-names.h5", "model.keras", "unnamed.keras"])
def test_another_alpha_is_named(name: str, tensors: Tensors, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, tensors)
    with pytest.raises(EngineError, match=r"another width than model.alpha = 1.0: .*; it fits model.alpha = 0.35$"):
        read_tensors(tmp_path / name, 1.0)


def test_a_width_that_keras_does_not_know_is_said_to_be_none(tensors: Tensors, tmp_path: Path) -> None:
    write_legacy(tmp_path / "w.h5", tensors | {"Conv1": [np.zeros((3, 3, 3, 5), np.float32)]})
    with pytest.raises(EngineError, match=r"'Conv1' is 3 x 3 x 3 x 5 and .* it fits no alpha"):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_other_layers_are_named(tensors: Tensors, tmp_path: Path) -> None:
    write_legacy(tmp_path / "w.h5", {name: tensors[name] for name in tensors if name != "block_3_expand"})
    with pytest.raises(
        EngineError, match=r"is not a MobileNetV2: it has no layer 'block_3_expand' \(1 of 104 missing\)"
    ):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_tensors_that_are_not_numbers_are_refused(tensors: Tensors, tmp_path: Path) -> None:
    broken = tensors["Conv_1"][0].copy()
    broken[0, 0, 5, 5] = np.nan
    write_legacy(tmp_path / "w.h5", tensors | {"Conv_1": [broken]})
    with pytest.raises(EngineError, match="NaN or infinity in layer 'Conv_1'"):
        read_tensors(tmp_path / "w.h5", ALPHA)


@pytest.mark.parametrize("name", ["weights.h5", "model.keras"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(name: str, share: float, tensors: Tensors, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path, tensors)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EngineError, match="damaged"):
        read_tensors(path, ALPHA)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", bytes(5000)])
def test_what_is_no_weights_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"w\.h5 (cannot be read as Keras weights|is damaged)"):
        read_tensors(path, ALPHA)


def test_damage_inside_an_archive_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    write_archive(path, tensors)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(EngineError, match="damaged"):
        read_tensors(path, ALPHA)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(EngineError, match=r"no \.keras file: it holds no config\.json"):
        read_tensors(tmp_path / "m.keras", ALPHA)


def test_an_archive_with_code_in_it_is_refused_and_not_run(tensors: Tensors, tmp_path: Path) -> None:
    layer = {
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}},
    }
    write_archive(tmp_path / "m.keras", tensors, {"config": {"layers": [{"class_name": "InputLayer"}, layer]}})
    with pytest.raises(EngineError, match="Lambda layer, which is code"):
        read_tensors(tmp_path / "m.keras", ALPHA)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.engine.tensors.LARGEST_FILE", 1024 * 1024)
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2 * 1024 * 1024))
    with pytest.raises(EngineError, match="unpacks to more than"):
        read_tensors(tmp_path / "m.keras", ALPHA)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/secret"), h5py.SoftLink("/elsewhere")])
def test_links_out_of_the_file_are_not_followed(link: object, tensors: Tensors, tmp_path: Path) -> None:
    write_legacy(tmp_path / "other.h5", tensors, group="secret")
    write_legacy(tmp_path / "w.h5", tensors)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["Conv1"]
        file["Conv1"] = link
    with pytest.raises(EngineError, match="leads out of the file"):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_data_in_another_file_are_not_read(tensors: Tensors, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(3 * 3 * 3 * 16 * 4))
    write_legacy(tmp_path / "w.h5", tensors)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        shape = file["Conv1/Conv1/kernel"].shape
        del file["Conv1/Conv1/kernel"]
        outside = [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        file["Conv1"].create_dataset("Conv1/kernel", shape, np.float32, external=outside)
    with pytest.raises(EngineError, match="lie in another file"):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_a_tensor_that_claims_too_much_is_not_read(tensors: Tensors, tmp_path: Path) -> None:
    write_legacy(tmp_path / "w.h5", tensors)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["Conv1/Conv1/kernel"]
        # Chunks that are not written take no room: a file of a few kilobytes claims a terabyte.
        file["Conv1"].create_dataset("Conv1/kernel", (2**20, 2**18), np.float32, chunks=(64, 64))
    with pytest.raises(EngineError, match="claims 1099511627776 bytes"):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w.h5").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(EngineError, match="too large"):
        read_tensors(tmp_path / "w.h5", ALPHA)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"abc")
    found = find_weights(str(tmp_path / "w.h5"), alpha=ALPHA, input_size=96, state_dir=tmp_path)
    assert found.path == tmp_path / "w.h5"
    # Source: FIPS 180-2, appendix B.1.
    assert found.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["missing.h5", "."])
def test_a_path_that_cannot_be_read_names_its_key(name: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"key model\.weights"):
        find_weights(str(tmp_path / name), alpha=ALPHA, input_size=96, state_dir=tmp_path)


def test_weights_that_were_replaced_since_are_not_taken_for_the_others(tensors: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    write_legacy(path, tensors)
    found = find_weights(str(path), alpha=ALPHA, input_size=96, state_dir=tmp_path)
    load_weights(found, ALPHA)
    write_legacy(path, draw(ALPHA, seed=2))
    with pytest.raises(EngineError, match=r"w\.h5 \(key model\.weights\) were replaced"):
        load_weights(found, ALPHA)


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    # A name that no file system takes, since to root no folder is closed.
    with pytest.raises(EngineError, match="File name too long"):
        find_weights("imagenet", alpha=ALPHA, input_size=96, state_dir=tmp_path / ("x" * 300))


def test_drawn_weights_are_the_same_each_time_and_have_a_digest_of_their_own(tmp_path: Path) -> None:
    first, other = (find_weights("untrained", alpha=a, input_size=96, state_dir=tmp_path) for a in (0.35, 0.5))
    assert first.path is None
    assert first.digest != other.digest
    assert load_weights(first, 0.35)["Conv_1"][0].tolist() == draw(0.35)["Conv_1"][0].tolist()
    assert draw(0.35)["Conv1"][0].tolist() != draw(0.35, seed=1)["Conv1"][0].tolist()


@pytest.mark.parametrize(("size", "rows"), [(96, 96), (160, 160), (224, 224), (100, 224), (512, 224)])
def test_imagenet_weights_follow_kerass_rule(size: int, rows: int) -> None:
    assert imagenet_name(1, size) == f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{rows}_no_top.h5"


def test_a_file_in_the_home_of_nobody_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"model\.weights: ~nosuch/w\.h5 leads nowhere"):
        find_weights("~nosuch/w.h5", alpha=1.0, input_size=224, state_dir=tmp_path)
