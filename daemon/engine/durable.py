"""Files that are put in place whole: on the disk before anybody finds them, so that no power cut leaves half of one."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Waits until a file, or a folder with the files right in it, is on the disk. Raises `OSError`."""
    for file in path.iterdir() if path.is_dir() else ():
        _sync_one(file)
    _sync_one(path)


def put_file(made: Path, place: Path) -> None:
    """Renames a file to `place` for good, over what is there. Raises `OSError`."""
    sync(made)
    os.replace(made, place)  # noqa: PTH105  # Atomic, and says so.
    _sync_one(place.parent)


def put_folder(made: Path, place: Path) -> None:
    """Renames a folder of files to `place` for good. Raises `OSError`, also where something is there."""
    sync(made)
    os.rename(made, place)  # noqa: PTH104  # Atomic, and says so.
    _sync_one(place.parent)


def _sync_one(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
