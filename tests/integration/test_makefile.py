"""The virtual environment that `make` makes: from a Python that will do, and anew where half of one was left."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole import ROOT

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed: apt install make")
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "tests/requirements-moto.txt")
OLD, NEW = (f"import sys; sys.version_info = (3, {minor}, 1); exec(sys.argv[1])" for minor in (10, 14))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout that needs nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "tests").mkdir()
    for name in REQUIREMENTS:
        (tmp_path / name).touch()
    return tmp_path


def make(tree: Path, target: str, python: str = f'exec {sys.executable} "$@"') -> "subprocess.CompletedProcess[str]":
    """With this shell script for a Python."""
    stand_in = tree / "python"
    stand_in.write_text(f"#!/bin/sh\n{python}\n")
    stand_in.chmod(0o755)
    command = [str(MAKE), target, f"PYTHON={stand_in}"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("target", [".venv/run", ".venv/dev"])
@pytest.mark.parametrize(
    ("python", "remedy"),
    [
        (f"exec {sys.executable} -c '{OLD}' \"$2\"", "Python 3.11, 3.12 or 3.13 is needed: make PYTHON="),
        (f"exec {sys.executable} -c '{NEW}' \"$2\"", "Python 3.11, 3.12 or 3.13 is needed: make PYTHON="),
        (f'case "$2" in *ensurepip*) exit 1; esac; exec {sys.executable} "$@"', "apt install python3-venv"),
    ],
    ids=["too old", "too new", "without venv"],
)
def test_a_python_that_will_not_do_is_refused(tree: Path, target: str, python: str, remedy: str) -> None:
    done = make(tree, target, python)
    assert done.returncode != 0
    assert remedy in done.stderr
    assert not (tree / ".venv" / "bin").exists()


def test_half_an_environment_is_made_anew_and_others_stay(tree: Path) -> None:
    fails = f'[ "$2" = venv ] && {{ {sys.executable} -m venv --without-pip "$3"; exit 1; }}; exec {sys.executable} "$@"'
    assert make(tree, ".venv/run", fails).returncode != 0
    assert (tree / ".venv/bin/python").exists()
    (tree / ".venv/moto").mkdir()
    done = make(tree, ".venv/run")
    assert done.returncode == 0, done.stderr
    assert (tree / ".venv/moto").exists()
    assert "up to date" in make(tree, ".venv/run").stdout


def test_an_environment_whose_python_is_gone_is_made_anew(tree: Path) -> None:
    assert make(tree, ".venv/run").returncode == 0
    (tree / ".venv/bin/python").unlink()
    (tree / ".venv/bin/python").symlink_to("/nowhere/python3")
    done = make(tree, ".venv/run")
    assert done.returncode == 0, done.stderr
    assert subprocess.run([tree / ".venv/bin/python", "--version"], check=False).returncode == 0
