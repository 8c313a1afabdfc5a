"""The loaders beside plain Pillow: images a second over a mix of 640×480 to 4000×3000 JPEG.

    .venv/bin/python -m benchmarks.loader [--rounds N] [--count N] [--photos FOLDER]

Five ways, alternating in one run, and the median of the rounds. Besides images a second, which suffers from whatever
else the machine is at, images for each second of processor time, of the loaders and of this process together:

* plain: one process, `Image.open`, `convert("RGB")`, `resize`, without draft;
* bare files, bare http: our own `fetch` and `decode` in a loop, in as many processes as there are loaders;
* files: the loaders, reading files;
* http: the loaders, fetching over loopback from a server in a process of its own, on the same cores.
"""

import argparse
import multiprocessing
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from uuid import uuid4

from PIL import Image

from daemon.loader.decode import decode, prepare
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.loader.pool import LoaderPool
from daemon.loader.samples import make_samples
from daemon.loader.web import WebFetcher
from daemon.records import Claim, Delivered, Loaded

SIZE = 224
SHAPES = ((640, 480), (1024, 768), (1600, 1200), (2048, 1536), (3000, 2000), (4000, 3000))
Way = Callable[[Sequence[str]], float]
"""Loads the locations and gives the seconds that it took."""


def make_mix(photos: Path | None, folder: Path) -> list[str]:
    """JPEG files of all shapes, from photographs scaled to them, or from drawings where there are none."""
    sources = sorted(photos.rglob("*.jpg"))[::17] if photos is not None else make_samples(folder / "drawn", 12, 1)
    made = []
    for number, (source, shape) in enumerate(zip(sources, cycle(SHAPES), strict=False)):
        with Image.open(source) as picture:
            scaled = picture.convert("RGB").resize(shape, Image.Resampling.BICUBIC)
        target = folder / f"{number:03d}-{shape[0]}x{shape[1]}.jpg"
        # A little grain, so that the files are as hard to decode as what a camera makes.
        grain = Image.effect_noise(shape, 24).convert("RGB")
        Image.blend(scaled, grain, 0.15).save(target, quality=88)
        made.append(str(target))
    return made


def plain(files: Sequence[str]) -> float:
    """One process, as one would write it in a minute."""
    begun = time.perf_counter()
    for file in files:
        with Image.open(file) as picture:
            picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR).tobytes()
    return time.perf_counter() - begun


class Bare:
    """Our fetch and decode in a loop, in several processes that are warm, with nothing about them."""

    def __init__(self, processes: int, root: Path, url: str) -> None:
        self._root, self._url = root, url
        self._pool = multiprocessing.get_context("spawn").Pool(processes, prepare, (50_000_000,))
        self._pool.map(abs, range(processes), chunksize=1)

    def files(self, files: Sequence[str]) -> float:
        begun = time.perf_counter()
        self._pool.map(_decode_file, files, chunksize=1)
        return time.perf_counter() - begun

    def http(self, files: Sequence[str]) -> float:
        begun = time.perf_counter()
        self._pool.map(_decode_url, urls_of(files, self._root, self._url), chunksize=1)
        return time.perf_counter() - begun

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def urls_of(files: Sequence[str], root: Path, url: str) -> list[str]:
    return [f"{url}/{Path(file).relative_to(root)}" for file in files]


def _decode_file(file: str) -> None:
    decode(Path(file).read_bytes(), size=SIZE, max_pixels=50_000_000)


def _decode_url(url: str) -> None:
    decode(_fetcher().fetch(url), size=SIZE, max_pixels=50_000_000)


@lru_cache(maxsize=1)
def _fetcher() -> WebFetcher:
    return WebFetcher(FetchOptions(allow_networks=("127.0.0.0/8",), allow_ports=(0,)))


class Pooled:
    """The loaders."""

    def __init__(self, processes: int, root: Path, url: str) -> None:
        self._root, self._url = root, url
        self._results: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        fetch = FetchOptions(file_roots=(str(root),), allow_networks=("127.0.0.0/8",), allow_ports=(0,), per_host=1000)
        self._pool = LoaderPool(
            options=LoaderOptions(processes=processes, input_size=SIZE, fetch=fetch), deliver=self._results.put
        )
        self._pool.start()

    def files(self, files: Sequence[str]) -> float:
        return self._load(files)

    def http(self, files: Sequence[str]) -> float:
        return self._load(urls_of(files, self._root, self._url))

    def close(self) -> None:
        self._pool.close()

    def _load(self, locations: Sequence[str]) -> float:
        begun, waiting, done = time.perf_counter(), list(reversed(locations)), 0
        while done < len(locations):
            while waiting and self._pool.free():
                claim = Claim(image_id=len(waiting), revision=1, token=uuid4(), location=waiting.pop())
                self._pool.submit(claim)
            result = self._results.get(timeout=60)
            if not isinstance(result, Loaded):
                raise SystemExit(f"{result.claim.location}: {result}")
            self._pool.release(result.slot)
            done += 1
        return time.perf_counter() - begun


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server of these files, and its address."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.file_server", str(folder)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    return server, f"http://127.0.0.1:{int(server.stdout.readline())}"


def processor_seconds() -> float:
    """What this process and its children, the server of files aside, have used so far."""
    own = os.getpid()
    listed = Path(f"/proc/{own}/task").glob("*/children")
    pids = {own, *(int(pid) for file in listed for pid in file.read_text().split())}
    return sum(_used(pid) for pid in pids if "file_server" not in _command(pid))


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@dataclass(frozen=True, slots=True)
class Figures:
    """Images a second, and for each second of processor time, round by round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def measure(ways: dict[str, Way], files: Sequence[str], rounds: int) -> dict[str, Figures]:
    """All ways in turn, in each round."""
    for way in ways.values():
        way(files[:8])
    figures = {name: Figures() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            used = processor_seconds()
            figures[name].wall.append(len(files) / way(files))
            figures[name].processor.append(len(files) / (processor_seconds() - used))
    return figures


def report(figures: dict[str, Figures], processes: int) -> None:
    print(f"{processes} loaders on {len(os.sched_getaffinity(0))} cores")
    print(f"{'':10} {'images/s':>10} {'least':>8} {'most':>8} {'a processor second':>20}")
    for name, one in figures.items():
        row = (median(one.wall), min(one.wall), max(one.wall), median(one.processor))
        print(f"{name:10} {row[0]:10.1f} {row[1]:8.1f} {row[2]:8.1f} {row[3]:20.1f}")
    for name in ("files", "http"):
        bare, plain_way, ours = figures[f"bare {name}"], figures["plain"], figures[name]
        print(
            f"{name}: {median(ours.wall) / processes / median(plain_way.wall):.2f} times plain for each core, "
            f"{median(ours.wall) / median(bare.wall):.2f} of the bare loop; by processor time "
            f"{median(ours.processor) / median(plain_way.processor):.2f} times plain, "
            f"{median(ours.processor) / median(bare.processor):.2f} of the bare loop"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_mix(given.photos if given.photos.is_dir() else None, folder)
        mix = list(islice(cycle(files), given.count))
        server, url = serve(folder)
        bare, pooled = Bare(given.processes, folder, url), Pooled(given.processes, folder, url)
        try:
            ways: dict[str, Way] = {
                "plain": plain,
                "bare files": bare.files,
                "files": pooled.files,
                "bare http": bare.http,
                "http": pooled.http,
            }
            report(measure(ways, mix, given.rounds), given.processes)
        finally:
            bare.close()
            pooled.close()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
