"""What is put in place is on the disk first, and so is the name that it gets."""

import os
from pathlib import Path

import pytest

from daemon.engine import durable


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and renamed, in that order, by name."""
    told: list[str] = []

    def syncing(opened: int) -> None:
        told.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{opened}'))}")  # noqa: PTH115, PTH119

    def renaming(name: str) -> None:
        real = getattr(os, name)

        def rename(made: Path, place: Path) -> None:
            told.append(f"rename {made.name}")
            real(made, place)

        monkeypatch.setattr(os, name, rename)

    monkeypatch.setattr(os, "fsync", syncing)
    renaming("replace")
    renaming("rename")
    return told


def test_a_file(acts: list[str], tmp_path: Path) -> None:
    (tmp_path / "made").write_text("new")
    (tmp_path / "place").mkdir()
    (tmp_path / "place/file").write_text("old")
    durable.put_file(tmp_path / "made", tmp_path / "place/file")
    assert (tmp_path / "place/file").read_text() == "new"
    assert acts == ["sync made", "rename made", "sync place"]


def test_a_folder(acts: list[str], tmp_path: Path) -> None:
    for name in ("made", "place"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / "made" / name).touch()
    durable.put_folder(tmp_path / "made", tmp_path / "place/folder")
    assert sorted(acts[:2]) == ["sync one", "sync two"]
    assert acts[2:] == ["sync made", "rename made", "sync place"]
