"""vectord.sh, the installed command, as somebody types it who is not root: what the daemon's own command line gets."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.whole import ROOT


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    """The command, with a Python that prints its arguments, in a folder with pictures."""
    folder = tmp_path / "some folder"
    for name in ("pics", "new pics", "7", "venv/bin", "bin"):
        (folder / name).mkdir(parents=True)
    for name, text in (
        ("venv/bin/python", 'printf "%s\\n" "$@"'),
        ("bin/id", "echo 1000"),
        ("vectord", (ROOT / "systemd/vectord.sh").read_text().replace("@PREFIX@", ".")),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--images", "pics"], ["--images", "{}/pics"]),
        (["--images=pics"], ["--images={}/pics"]),
        (["--images=new pics", "--json"], ["--images={}/new pics", "--json"]),
        (["--images=/srv/pics"], ["--images=/srv/pics"]),
        (["--images=none"], ["--images=none"]),
        (["--count=7"], ["--count=7"]),
        (["--count", "7"], ["--count", "7"]),
    ],
)
def test_paths_are_those_of_the_folder_that_it_is_typed_in(arguments: list[str], given: list[str], typed: Path) -> None:
    done = subprocess.run(
        ["./vectord", "demo", *arguments],
        env=os.environ | {"PATH": f"{typed}/bin:{os.environ['PATH']}"},
        cwd=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    before = ["-P", "-m", "daemon", "demo", "--config", "/etc/vectord/config.toml"]
    assert (done.stdout.splitlines(), done.stderr) == ([*before, *(one.format(typed) for one in given)], "")
