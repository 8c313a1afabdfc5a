"""The demo's pictures: a folder of the user's, or ones drawn for the purpose, served over HTTP on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from daemon.errors import ConfigurationError, VectordError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jfif", ".jpe"}
)
"""What counts as a picture in a folder; the loaders themselves look at the bytes."""

NAME_SHOWN = 24
"""Characters of a file's name in its URL, at most 12 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A file below the demo's folder, and the folder it lies in: what a nearest neighbour should share with it."""

    path: Path
    label: str

    @property
    def name(self) -> str:
        """For people: bytes that are no UTF-8 can be printed nowhere."""
        return _text(f"{self.label}/{self.path.name}" if self.label else self.path.name)


def draw(folder: Path, count: int) -> None:
    """Has a child process draw `count` pictures: Pillow is imported by nobody but the loaders."""
    command = [sys.executable, "-m", "daemon.loader.samples", str(folder), str(count)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own module
    if done.returncode:
        raise VectordError(f"the demo's pictures could not be drawn: {done.stderr.strip()[-500:]}")


def find(folder: Path, count: int | None) -> list[Picture]:
    """The pictures below a folder, at most `count`, taken from its subfolders in turn so that none is left out."""
    if not folder.is_dir():
        raise ConfigurationError(f"--images: there is no folder {folder}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    pictures = [Picture(path=file, label=_label(file, folder)) for file in files]
    if not pictures:
        raise ConfigurationError(f"--images: no pictures below {folder} ({', '.join(sorted(SUFFIXES))})")
    return pictures if count is None else _spread(pictures, count)


def _label(file: Path, folder: Path) -> str:
    parent = file.parent.relative_to(folder)
    return "" if parent == Path() else str(parent)


def _spread(pictures: list[Picture], count: int) -> list[Picture]:
    seen: dict[str, int] = {}
    ranked = []
    for picture in pictures:
        seen[picture.label] = seen.get(picture.label, 0) + 1
        ranked.append((seen[picture.label], picture.label, picture))
    return [picture for _, _, picture in sorted(ranked, key=lambda entry: entry[:2])[:count]]


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


class _Gallery(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, pictures: Mapping[int, Picture], **more: Any) -> None:
        self._files = {str(number): str(picture.path) for number, picture in pictures.items()}
        super().__init__(*arguments, **more)

    def translate_path(self, path: str) -> str:
        """The number alone counts; of what is not among them, nothing is there."""
        return self._files.get(path.split("/")[1], os.devnull + "/none")

    def log_message(self, *_arguments: Any) -> None:
        """A line per picture would drown the progress bar."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serve(pictures: Mapping[int, Picture]) -> Iterator[str]:
    """Serves them on a free port of 127.0.0.1 while this lasts; gives the address."""
    with _Server(("127.0.0.1", 0), partial(_Gallery, pictures=pictures)) as server:
        thread = Thread(target=server.serve_forever, name="vectord-demo-http", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def url(base: str, number: int, picture: Picture) -> str:
    """Where `serve` serves it. The name is for people, and only its end: the column of locations has a length."""
    return f"{base}/{number}/{quote(_text(picture.path.name[-NAME_SHOWN:]))}"
