"""The shared memory that pixels come back through: one anonymous file, cut into slots of `[H, W, 3]` bytes.

The file has no name (memfd, or an unlinked temporary file), so the kernel frees it with the last process that holds it,
however that process ends. Its pages are made when first written: unused slots cost nothing.
"""

import contextlib
import mmap
import os
import tempfile


class Arena:
    """`slots` slots of `size * size * 3` bytes each, over an open file."""

    def __init__(self, file: int, *, slots: int, size: int) -> None:
        self.file = file
        self.slots = slots
        self.side = size
        self.slot_bytes = size * size * 3
        self.memory = mmap.mmap(file, slots * self.slot_bytes)

    def close(self) -> None:
        """Close the file; the memory goes now, or when nobody looks at it any more."""
        os.close(self.file)
        with contextlib.suppress(BufferError):
            self.memory.close()

    def write(self, slot: int, pixels: bytes) -> None:
        """Put one image's pixels into its slot. Raises `ValueError` when they do not fill it exactly."""
        if len(pixels) != self.slot_bytes or not 0 <= slot < self.slots:
            raise ValueError(f"{len(pixels)} bytes for slot {slot}")
        self.put(slot, pixels)

    def put(self, slot: int, content: bytes) -> None:
        """Put something into a slot that need not fill it. Raises `ValueError` when it is too much for one."""
        if len(content) > self.slot_bytes:
            raise ValueError(f"{len(content)} bytes for a slot of {self.slot_bytes}")
        start = slot * self.slot_bytes
        self.memory[start : start + len(content)] = content

    def get(self, slot: int, length: int) -> bytes:
        """What was put there, as far as it fits a slot."""
        start = slot * self.slot_bytes
        return self.memory[start : start + min(max(0, length), self.slot_bytes)]


def make_arena(*, slots: int, size: int) -> Arena:
    """A new arena, all zeros."""
    file = anonymous_file("vectord-pixels")
    os.ftruncate(file, slots * size * size * 3)
    return Arena(file, slots=slots, size=size)


def anonymous_file(name: str, content: bytes = b"") -> int:
    """An open file without a name in any folder, read from its start; the caller closes it. Raises `OSError`."""
    file = _unnamed(name)
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(file, view) :]
        os.lseek(file, 0, os.SEEK_SET)
    except OSError:
        os.close(file)
        raise
    return file


def _unnamed(name: str) -> int:
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError):  # Some sandboxes forbid the call.
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
