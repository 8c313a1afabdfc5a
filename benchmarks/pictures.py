"""The standard mix of photographs, as many different ones as a benchmark needs, and weights where nobody gave any."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

from benchmarks.loader import make_mix

SHARED = Path("../shared")
"""Where photographs and weights lie on the machines that this is developed on; drawn ones do as well for speed."""

MARKER, HEAD, NUMBERS = b"\xff\xdb", 5, 64
"""A JPEG's quantisation table: its marker; bytes before the first number; its numbers. Source: ITU T.81, B.2.4.1."""

SAVE_WEIGHTS = """
import sys
from daemon.engine.quiet import import_keras
path, alpha, side = sys.argv[1:]
make = import_keras().applications.MobileNetV2
make((int(side), int(side), 3), alpha=float(alpha), include_top=False, weights=None).save_weights(path)
"""


def make_pictures(folder: Path, number: int, photos: Path | None = None, shape: str = "") -> list[str]:
    """Names of `number` JPEG files in `folder`, no two alike: the mix, or those of one shape ("640x480") in it.

    A vector index finds exact doubles faster than anything else, so each file of the mix is varied by one number of its
    quantisation table: as long, as hard to decode, and slightly different to look at.
    """
    found = SHARED / "photos" if photos is None else photos
    mix = folder / "mix"
    mix.mkdir(parents=True, exist_ok=True)
    files = sorted(mix.glob("*.jpg")) or [Path(file) for file in make_mix(found if found.is_dir() else None, mix)]
    chosen = [file for file in files if shape in file.name]
    return list(islice(_varied(chosen, folder), number))


def _varied(files: Sequence[Path], folder: Path) -> Iterator[str]:
    """The files in turn, each time with the next number raised."""
    for turn in count():
        for file in files:
            target = folder / f"{turn:04d}-{file.name}"
            if not target.exists():
                target.write_bytes(raised(file.read_bytes(), turn))
            yield target.name


def raised(picture: bytes, turn: int) -> bytes:
    """The same picture with one number of one of its quantisation tables a little larger."""
    tables = [at for at in _places(picture) if at < 1024]
    rounds, place = divmod(turn, NUMBERS * len(tables))
    at = tables[place // NUMBERS] + HEAD + place % NUMBERS
    return picture[:at] + bytes([min(255, picture[at] + 1 + rounds)]) + picture[at + 1 :]


def _places(picture: bytes) -> Iterator[int]:
    at = picture.find(MARKER)
    while at >= 0:
        yield at
        at = picture.find(MARKER, at + 2)


def make_weights(folder: Path, *, alpha: float = 1.0, side: int = 224) -> Path:
    """ImageNet weights where they lie at hand; otherwise random ones, since speed does not depend on them."""
    given = sorted((SHARED / "weights").glob(f"*_{alpha}_{side}_no_top.h5"))
    if given:
        return given[0].resolve()
    path = folder.resolve() / f"random-{alpha}-{side}.weights.h5"
    if not path.exists():
        arguments = [str(path), str(alpha), str(side)]
        subprocess.run([sys.executable, "-c", SAVE_WEIGHTS, *arguments], check=True, capture_output=True)
    return path
