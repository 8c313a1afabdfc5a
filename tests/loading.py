"""Shared by the tests of the loaders: a pool whose results can be waited for, and the pictures that they load."""

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any, Self
from uuid import uuid4

from PIL import Image

from daemon.errors import Reason
from daemon.loader.events import Event
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.loader.pool import LoaderPool
from daemon.records import Claim, Delivered, Failure, ImageId, Loaded, StoredBytes

LOOPBACK = FetchOptions(allow_networks=("127.0.0.0/8",), allow_ports=(0,))
"""Fetch options of tests that serve pictures themselves."""

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"
"""Material that lies beside the repository; tests that use it skip where it is absent."""

Result = Delivered


def claim(
    location: str | StoredBytes,
    *,
    image_id: ImageId | None = None,
    suspect: bool = False,
    attempt: int = 1,
    request: str = "",
    backfill: bool = False,
) -> Claim:
    """A claim of this location, whose id is the location where nothing else is said."""
    return Claim(
        image_id=str(location) if image_id is None else image_id,
        revision=1,
        token=uuid4(),
        location=location,
        suspect=suspect,
        attempt=attempt,
        request=request,
        backfill=backfill,
    )


class Rig:
    """A pool, its results by image id, and its events. Pixels are copied and their slots released at once."""

    def __init__(self, options: LoaderOptions | None = None, **given: Any) -> None:
        self.results: dict[Any, list[Result]] = {}
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()
        self.pool = LoaderPool(
            options=options or LoaderOptions(input_size=32), deliver=self._deliver, emit=self._emit, **given
        )

    def __enter__(self) -> Self:
        self.pool.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def load(self, claims: Iterable[Claim | str], timeout: float = 60.0) -> dict[Any, Result]:
        """Submit these and wait for all; the last result of each."""
        wanted = [claim(item) if isinstance(item, str) else item for item in claims]
        before = {item.image_id: len(self.results.get(item.image_id, ())) for item in wanted}
        for item in wanted:
            self.until(self.pool.free, timeout, "room in the pool")
            self.pool.submit(item)
        for image_id, count in before.items():
            self.until(partial(self._has_more, image_id, count), timeout, f"result of {image_id}")
        return {item.image_id: self.results[item.image_id][-1] for item in wanted}

    def until(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        """Wait for a condition that results, events or the passing of a moment bring about."""
        deadline = monotonic() + timeout
        with self._changed:
            while not condition():
                if monotonic() < deadline:
                    # Looked at again now and then, since not everything that changes is told of.
                    self._changed.wait(0.02)
                    continue
                raise AssertionError(f"no {what} within {timeout} s; {self.pool.status()}; {self.events[-3:]}")

    def seen(self, kind: type[Event]) -> list[Any]:
        """The events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def pids(self) -> list[int]:
        """The process ids of the loaders."""
        return [child.process.pid for child in list(self.pool._nursery.children)]

    def _has_more(self, image_id: ImageId, count: int) -> bool:
        return len(self.results.get(image_id, ())) > count

    def _deliver(self, result: Result) -> None:
        with self._changed:
            self.threads.add(threading.get_ident())
            if isinstance(result, Loaded):
                kept = replace(result, pixels=result.pixels.copy())
                self.pool.release(result.slot)
                result = kept
            self.results.setdefault(result.claim.image_id, []).append(result)
            self._changed.notify_all()

    def _emit(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


def reason(result: Result) -> Reason | None:
    """Why there are no pixels; None where there are."""
    return result.reason if isinstance(result, Failure) else None


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """A picture with something to see in it: a gradient of its own in each band."""
    down = Image.linear_gradient("L")
    bands = [down, down.transpose(Image.Transpose.ROTATE_180), down.transpose(Image.Transpose.ROTATE_90)]
    return Image.merge("RGB", [band.resize(size) for band in bands]).convert(mode)


def encoded(kind: str = "JPEG", image: Image.Image | None = None, **given: Any) -> bytes:
    """The bytes of a picture file."""
    target = BytesIO()
    (image or picture()).save(target, kind, **given)
    return target.getvalue()


def wordy() -> bytes:
    """A PNG of some KB with more text in it, unpacked, than Pillow takes."""
    data, body = encoded("PNG", picture((8, 8))), b"zTXt" + b"a\0\0" + zlib.compress(bytes(8_000_000), 9)
    text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + text * 9 + data[33:]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be asked for its status does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def open_files(pid: int | None = None) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid or os.getpid()}/fd").iterdir()))


def named_memory(pid: int) -> list[str]:
    """The shared memory that a process has in use and that has a name in /dev/shm."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/" in line]
