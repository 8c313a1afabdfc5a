"""install.sh and uninstall.sh on a staged tree: they touch what is vectord's, whoever else uses the folders."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole import ROOT

PREFIXES = ("/opt/vectord", "/usr/local", "/usr")


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """Where to install: below a name that shells and regular expressions could take for more than a name."""
    made = tmp_path / "my [st*age]"
    made.mkdir()
    return made


def script(
    name: str, *arguments: str, stage: Path | str, prefix: str, folder: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Runs it from this folder."""
    return subprocess.run(
        [ROOT / "systemd" / name, *arguments],
        env=os.environ | {"DESTDIR": str(stage), "PREFIX": prefix, "PYTHON": sys.executable},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def install(stage: Path | str, prefix: str, folder: Path = ROOT) -> None:
    done = script("install.sh", "--no-requirements", stage=stage, prefix=prefix, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")


def uninstall(stage: Path | str, prefix: str, folder: Path = ROOT) -> None:
    done = script("uninstall.sh", stage=stage, prefix=prefix, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")


def paths(stage: Path) -> set[str]:
    """All files and links, but for the configuration, which stays."""
    found = {str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_symlink() or not path.is_dir()}
    return found - {"etc/vectord/config.toml"}


def place_of_the_code(root: Path) -> str:
    """Of the code that the installed Python runs, below a stage."""
    (found,) = root.glob("venv/lib/python3*/site-packages/vectord.pth")
    return found.read_text().strip()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_others_have_below_the_prefix_stays(prefix: str, stage: Path) -> None:
    root = stage / prefix[1:]
    theirs = [root / name for name in ("lib/theirs.so", "lib/daemon/theirs.py", "bin/theirs", "share/theirs/file")]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("theirs")
    before = paths(stage)
    for act in (install, install, uninstall):
        act(stage, prefix)
        assert {file.read_text() for file in theirs} == {"theirs"}
    assert paths(stage) == before


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_command_is_found_and_is_no_link_to_itself(prefix: str, stage: Path) -> None:
    for _ in range(2):
        install(stage, prefix)
        assert "-m daemon" in (stage / prefix[1:] / "bin/vectord").read_text()
        link = stage / "usr/local/bin/vectord"
        assert link.is_symlink() == (prefix != "/usr/local")
        assert not link.is_symlink() or link.readlink() == Path(f"{prefix}/bin/vectord")


def test_the_installed_pages_lead_to_nothing_that_was_left_behind(stage: Path) -> None:
    install(stage, "/opt/vectord")
    pages = list((stage / "opt/vectord/share/vectord/docs").rglob("*.md"))
    assert pages
    for page in pages:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_a_venv_of_somebody_elses_is_left_alone(stage: Path) -> None:
    venv = stage / "usr/local/venv"
    venv.mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("theirs")
    done = script("install.sh", "--no-requirements", stage=stage, prefix="/usr/local")
    assert (done.returncode, "is not vectord's" in done.stderr) == (1, True)
    uninstall(stage, "/usr/local")
    assert paths(stage) == {"usr/local/venv/pyvenv.cfg"}
    assert (venv / "pyvenv.cfg").read_text() == "theirs"


@pytest.mark.parametrize("prefix", ["/", "//", "relative", "/opt/some folder"])
def test_a_prefix_that_will_not_do_is_refused(prefix: str, stage: Path) -> None:
    done = script("install.sh", "--no-requirements", stage=stage, prefix=prefix)
    assert (done.returncode, "PREFIX" in done.stderr) == (2, True)
    assert paths(stage) == set()


def test_a_stage_is_named_nowhere_and_may_be_relative(stage: Path) -> None:
    relative = f"./{stage.name}/"
    install(relative, "/opt/vectord", folder=stage.parent)
    files = [path for path in stage.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if stage.name.encode() in path.read_bytes()] == []
    assert "/opt/vectord/venv" in (stage / "opt/vectord/venv/bin/activate").read_text()
    assert not (ROOT / stage.name).exists()
    uninstall(relative, "/opt/vectord", folder=stage.parent)
    assert paths(stage) == set()


def make_old(root: Path, prefix: str) -> None:
    """The layout of the versions that had the code right in lib, which was theirs alone, and no mark in the venv."""
    (root / "lib/vectord/daemon").rename(root / "lib/daemon")
    (root / "lib/vectord").rmdir()
    (root / "venv/.vectord").unlink()
    (pth,) = root.glob("venv/lib/python3*/site-packages/vectord.pth")
    pth.write_text(f"{prefix}/lib\n")


def test_an_installation_of_old_is_brought_up_to_date(stage: Path) -> None:
    prefix = "/opt/vectord"
    root = stage / prefix[1:]
    install(stage, prefix)
    make_old(root, prefix)
    (root / "lib/daemon/gone.py").touch()
    install(stage, prefix)
    assert place_of_the_code(root) == f"{prefix}/lib/vectord"
    # Until the daemon of old is restarted.
    assert (root / "lib/daemon/__main__.py").read_text() == (ROOT / "daemon/__main__.py").read_text()
    assert not (root / "lib/daemon/gone.py").exists()
    install(stage, prefix)
    assert [path.name for path in (root / "lib").iterdir()] == ["vectord"]


@pytest.mark.parametrize("upgrades", [0, 1])
def test_an_installation_of_old_is_taken_away(upgrades: int, stage: Path) -> None:
    install(stage, "/opt/vectord")
    make_old(stage / "opt/vectord", "/opt/vectord")
    for _ in range(upgrades):
        install(stage, "/opt/vectord")
    uninstall(stage, "/opt/vectord")
    assert paths(stage) == set()
    assert not (stage / "opt/vectord").exists()
