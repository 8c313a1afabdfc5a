"""The console's files: read once, served from memory under a name that changes with them.

So browsers may keep them for good, and no page is ever made of two versions.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("console")
PAGE = "index.html"
VERSION = "{version}"
"""What stands in the page for the files' version."""
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
"""What is served; licences and the like lie beside it for readers of the source."""


class Asset(NamedTuple):
    """A file as browsers get it."""

    content: bytes
    media_type: str


class Assets:
    """All of them. `version` is a digest over names and contents."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
        self._files = {
            name: Asset(path.read_bytes(), MEDIA_TYPES[path.suffix])
            for name, path in found.items()
            if path.suffix in MEDIA_TYPES
        }
        self.version = _digest(self._files)
        page = self._files.pop(PAGE)
        self.page = page.content.replace(VERSION.encode(), self.version.encode())

    def find(self, version: str, name: str) -> Asset | None:
        """The file of this name; None where there is none, or it belongs to another version."""
        return self._files.get(name) if version == self.version else None


def _digest(files: dict[str, Asset]) -> str:
    digest = hashlib.sha256()
    for name, asset in files.items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode())
        digest.update(asset.content)
    return digest.hexdigest()[:12]
