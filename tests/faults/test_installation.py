"""A machine that is not as it should be: a full disk, a home that cannot be written to, a damaged cache.

What cannot go on says why, with the key that would change it; what can, goes on.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults.confined import CANNOT
from tests.faults.daemons import PATIENCE, Running
from tests.faults.scene import Scene
from tests.whole import ROOT

CONFINED = ("tests/faults/confined.py",)
IMAGES = 24


@pytest.fixture
def place() -> Iterator[Path]:
    """Not below pytest's folder: the embedded PostgreSQL runs as another user when this is root."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-place-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def mounts(variables: dict[str, str]) -> None:
    """Skips where nobody may mount anything."""
    command = [sys.executable, *CONFINED, "--help"]
    tried = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=PATIENCE, check=False)
    if tried.returncode == CANNOT:
        pytest.skip("needs the right to mount: root, with CAP_SYS_ADMIN")
    assert tried.returncode == 0, tried.stderr


def refusal(variables: Mapping[str, str]) -> str:
    """What a daemon says that cannot start. It has status 1 then: it may be another time that it can."""
    with Running(variables, CONFINED) as daemon:
        error = str(daemon.wait_for("daemon.not_started")["error"])
        assert daemon.process.wait(PATIENCE) == 1
        assert daemon.noise == []
    return error


def full(place: Path) -> dict[str, str]:
    return {"FAULTS_FULL": str(place), "VECTORD_DATABASE__STATE_DIR": str(place)}


def read_only_home(place: Path) -> dict[str, str]:
    unset = {"STATE_DIRECTORY": "", "XDG_STATE_HOME": "", "VECTORD_DATABASE__STATE_DIR": "auto"}
    return {"FAULTS_READ_ONLY": str(place), "HOME": str(place)} | unset


OPENVINO = {"VECTORD_ENGINE__BACKEND": "openvino"}
EMBEDDED = {"VECTORD_DATABASE__DSN": ""}
IMAGENET = {"VECTORD_MODEL__WEIGHTS": "imagenet"}


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (full, OPENVINO, "the converted model cannot be written to {place}"),
        (full, EMBEDDED, "No space left on device"),
        (read_only_home, OPENVINO, "the converted model cannot be kept in {place}"),
        (read_only_home, EMBEDDED, "Read-only file system"),
        (read_only_home, IMAGENET, "the ImageNet weights cannot be kept in {place}"),
    ],
    ids=["full-model", "full-embedded", "read-only-model", "read-only-embedded", "read-only-weights"],
)
def test_what_cannot_be_kept_is_said_with_its_key(
    scene: Scene, place: Path, kind: Callable[[Path], dict[str, str]], given: dict[str, str], said: str
) -> None:
    error = refusal(scene.variables | kind(place) | given)
    assert said.format(place=place) in error
    assert "database.state_dir" in error


@pytest.mark.slow
@pytest.mark.usefixtures("mounts")
def test_with_a_full_disk_the_other_engine_does_the_work(scene: Scene, place: Path) -> None:
    with scene.fault(15, "a full disk under state_dir") as fault:
        scene.insert(range(IMAGES))
        daemon = scene.start(CONFINED, **full(place))
        fallback = daemon.wait_for("engine.fallback")
        assert "database.state_dir" in fallback["reason"]
        fault.note = f"said so, and went on with {fallback['using']}"


@pytest.mark.slow
def test_a_damaged_model_is_made_anew(scene: Scene, place: Path, compiled: Path) -> None:
    scene.start().stop()
    shutil.copytree(compiled / "openvino", place / "openvino")
    for tensors in (place / "openvino").glob("*/model.bin"):
        content = bytearray(tensors.read_bytes())
        content[len(content) // 2] ^= 0xFF
        tensors.write_bytes(content)
    with scene.fault(15, "a damaged byte in the engine's cache") as fault:
        scene.insert(range(IMAGES))
        daemon = scene.start(VECTORD_DATABASE__STATE_DIR=str(place))
        said = [line["event"] for line in daemon.said if "is damaged and is made anew" in line["event"]]
        assert len(said) == 1
        assert str(place) in said[0]
        fault.note = "said so, and made it anew"
