"""Planted into real loaders by `LOADER_TEST_PLUGIN=loader_plugin`: a picture format whose decoding does harm.

A file `FAULT:<deed>` is taken for a picture, and decoding it does the deed inside the loader.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from PIL import Image, ImageFile

from daemon.loader.sniff import ALLOWED

MAGIC = b"FAULT:"


def _segfault() -> None:
    ctypes.string_at(0)


def _hog() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))


def _native_hog() -> None:
    """Runs out of memory inside C, which says so and aborts."""
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def _loop() -> None:
    while True:
        pass


def _native_loop() -> None:
    """Holds the interpreter's lock all the while, so that no other thread of the loader gets to run."""
    ctypes.PyDLL(None).pause()


def _leave() -> None:
    os._exit(7)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _nonsense() -> None:
    """Talks out of turn over the loader's own socket."""
    os.write(int(sys.argv[1]), b"\x00 this is no message")
    _loop()


def _lie() -> None:
    """Reports what cannot be of whatever task it may have."""
    for task in range(100):
        os.write(int(sys.argv[1]), f'{{"step": "loaded", "task": {task}, "size": -1}}'.encode())
    _loop()


def _linger() -> None:
    """Says into the pipe $FAULTS_LINGER that the decoding has begun, and then never ends."""
    Path(os.environ["FAULTS_LINGER"]).write_text("decoding")
    _native_loop()


def _recurse() -> NoReturn:
    _recurse()


DEEDS: dict[bytes, Callable[[], None]] = {
    b"abort": os.abort,
    b"segfault": _segfault,
    b"hog": _hog,
    b"native-hog": _native_hog,
    b"loop": _loop,
    b"native-loop": _native_loop,
    b"exit": _leave,
    b"kill": _kill,
    b"nonsense": _nonsense,
    b"lie": _lie,
    b"recurse": _recurse,
    b"linger": _linger,
}


class FaultFile(ImageFile.ImageFile):
    format = "FAULT"

    def _open(self) -> None:
        assert self.fp is not None
        DEEDS[self.fp.read().removeprefix(MAGIC).strip()]()


Image.register_open("FAULT", FaultFile, lambda prefix: prefix.startswith(MAGIC))
ALLOWED.append(("FAULT", re.compile(MAGIC)))
