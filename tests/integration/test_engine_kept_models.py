"""Converted models on disk: made once, whole or not at all, damage seen, two daemons at a time."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.engine import EngineOptions, ModelSpec, WeightsFile, convert, find_weights, kept_models, open_engine
from daemon.engine.kept_models import key
from daemon.errors import EngineError
from daemon.wanted import NotWantedError, StillWanted

SPEC = ModelSpec(alpha=0.35, input_size=32, scaling="tf", weights=WeightsFile(path=None, digest="0"))


class FakeConversion:
    """Stands in for the child process: writes two small files, and counts."""

    def __init__(self) -> None:
        self.times = 0
        self.fault: Exception | None = None

    def __call__(self, spec: ModelSpec, folder: Path, still_wanted: StillWanted) -> None:
        self.times += 1
        (folder / "model.xml").write_text(f"<{spec.alpha}>")
        if self.fault:
            raise self.fault
        (folder / "model.bin").write_bytes(b"weights")


@pytest.fixture
def conversion(monkeypatch: pytest.MonkeyPatch) -> FakeConversion:
    made = FakeConversion()
    monkeypatch.setattr(kept_models, "convert_in_child", made)
    return made


def test_a_model_is_converted_once(conversion: FakeConversion, tmp_path: Path) -> None:
    first, second = (kept_models.converted(SPEC, tmp_path) for _ in range(2))
    assert first == second
    assert first.read_text() == "<0.35>"
    assert conversion.times == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, alpha=0.5),
        replace(SPEC, input_size=64),
        replace(SPEC, scaling="unit"),
        replace(SPEC, weights=WeightsFile(path=None, digest="1")),
    ],
)
def test_another_model_is_another_conversion(other: ModelSpec) -> None:
    assert key(other) != key(SPEC)


def test_the_place_of_the_weights_does_not_matter() -> None:
    assert key(replace(SPEC, weights=WeightsFile(path=Path("/elsewhere"), digest="0"))) == key(SPEC)


def test_another_version_is_another_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(SPEC)
    monkeypatch.setattr(kept_models, "version", lambda package: "9999.0" if package == "openvino" else "3")
    assert key(SPEC) != before


def _flip(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"weightz")


def _truncate(folder: Path) -> None:
    (folder / "model.xml").write_text("<")


def _lose(folder: Path) -> None:
    (folder / "model.bin").unlink()


def _garble(folder: Path) -> None:
    (folder / "sha256.json").write_text("{")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [_flip, _truncate, _lose, _garble, _empty])
def test_damage_is_seen_and_mended(
    damage: Callable[[Path], None], conversion: FakeConversion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = kept_models.converted(SPEC, tmp_path).parent
    damage(folder)
    with caplog.at_level(logging.WARNING):
        again = kept_models.converted(SPEC, tmp_path)
    assert again.read_text() == "<0.35>"
    assert conversion.times == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged and is made anew" in caplog.text


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), EngineError("TensorFlow is missing")])
def test_a_conversion_that_fails_leaves_nothing(fault: Exception, conversion: FakeConversion, tmp_path: Path) -> None:
    conversion.fault = fault
    with pytest.raises(EngineError, match=r"No space left on device|TensorFlow is missing"):
        kept_models.converted(SPEC, tmp_path)
    assert not list((tmp_path / "openvino").iterdir())


def test_what_a_killed_conversion_left_is_cleared(conversion: FakeConversion, tmp_path: Path) -> None:
    old, young = (tmp_path / "openvino" / f".making-{name}" for name in ("old", "young"))
    for left in (old, young):
        (left / "model").mkdir(parents=True)
        (left / "model/model.bin").touch()
    yesterday = time.time() - 100_000
    os.utime(old, (yesterday, yesterday))
    kept_models.converted(SPEC, tmp_path)
    # Another daemon may be at it now.
    assert (old.exists(), young.exists()) == (False, True)


def test_a_state_folder_that_cannot_be_written_names_its_key(conversion: FakeConversion, tmp_path: Path) -> None:
    (tmp_path / "openvino").write_text("a file where the folder should be")
    with pytest.raises(EngineError, match=r"key database\.state_dir"):
        kept_models.converted(SPEC, tmp_path)


def test_two_daemons_may_convert_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, conversion, paths = threading.Barrier(2, timeout=20), FakeConversion(), []

    def convert_together(spec: ModelSpec, folder: Path, still_wanted: StillWanted) -> None:
        both.wait()
        conversion(spec, folder, still_wanted)
        both.wait()

    monkeypatch.setattr(kept_models, "convert_in_child", convert_together)
    threads = [threading.Thread(target=lambda: paths.append(kept_models.converted(SPEC, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(paths) == 2
    assert paths[0] == paths[1]
    assert [path.name for path in (tmp_path / "openvino").iterdir()] == [paths[0].parent.name]


def test_wrong_weights_start_no_child(conversion: FakeConversion, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"no weights")
    spec = replace(SPEC, weights=WeightsFile(path=tmp_path / "w.h5", digest="0"))
    with pytest.raises(EngineError, match="cannot be read as Keras weights"):
        kept_models.converted(spec, tmp_path)
    assert conversion.times == 0


def test_what_the_child_says_is_passed_on(tmp_path: Path) -> None:
    spec = replace(SPEC, weights=WeightsFile(path=tmp_path / "missing.h5", digest="0"))
    with pytest.raises(EngineError, match=r"^.*missing\.h5 cannot be read as Keras weights[^\n]*No such file[^\n]*$"):
        convert.convert_in_child(spec, tmp_path)


def test_a_child_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "TREE", tmp_path)
    with pytest.raises(EngineError, match=r"No module named '?daemon"):
        convert.convert_in_child(SPEC, tmp_path)


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "PATIENCE", 0.01)
    with pytest.raises(EngineError, match=r"could not be converted for OpenVINO: .*timed out"):
        convert.convert_in_child(SPEC, tmp_path)


def test_a_child_that_nobody_waits_for_any_more_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def give_up() -> None:
        raise NotWantedError

    def wait(child: subprocess.Popen[bytes], still_wanted: StillWanted) -> tuple[bytes, bytes]:
        children.append(child)
        return honest(child, still_wanted)

    honest = convert._wait
    monkeypatch.setattr(convert, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(convert, "_wait", wait)
    with pytest.raises(NotWantedError):
        convert.convert_in_child(SPEC, tmp_path, give_up)
    assert [child.returncode for child in children] == [-signal.SIGKILL]


def test_a_damaged_model_gives_the_same_vectors_once_mended(compiled: Path, tmp_path: Path) -> None:
    # What other tests' daemons use, so that it is there already.
    drawn = find_weights("untrained", alpha=0.35, input_size=96, state_dir=compiled)
    spec = ModelSpec(alpha=0.35, input_size=96, scaling="tf", weights=drawn)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    before = open_engine(spec, EngineOptions(state_dir=compiled, backend="openvino")).embed(pixels)
    own = tmp_path / "openvino" / key(spec)
    shutil.copytree(compiled / "openvino" / key(spec), own)
    content = bytearray((own / "model.bin").read_bytes())
    content[len(content) // 2] ^= 0x40
    (own / "model.bin").write_bytes(content)
    mended = open_engine(spec, EngineOptions(state_dir=tmp_path, backend="openvino"))
    assert mended.embed(pixels).tolist() == before.tolist()
    assert (own / "model.bin").read_bytes() == (compiled / "openvino" / key(spec) / "model.bin").read_bytes()


def test_the_child_is_a_program_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon.engine.convert", "{}", str(tmp_path)],
        cwd=convert.TREE,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"KeyError: 'weights'" in done.stderr


def test_weights_are_looked_for_in_the_daemons_folder(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child that converts them works in another one."""
    shutil.copy(small_weights, tmp_path / "own.weights.h5")
    monkeypatch.chdir(tmp_path)
    weights = find_weights("own.weights.h5", alpha=0.35, input_size=32, state_dir=tmp_path)
    spec = ModelSpec(alpha=0.35, input_size=32, scaling="tf", weights=weights)
    engine = open_engine(spec, EngineOptions(state_dir=tmp_path / "empty", backend="openvino"))
    assert engine.describe().backend == "openvino"
