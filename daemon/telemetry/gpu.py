"""Memory and utilisation of the machine's NVIDIA GPUs, as their driver's management library tells.

The one place that imports nvidia-ml-py, which is optional: without it, or without a driver, there is nothing to show.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from daemon.telemetry.readings import Reading

Library = Any
"""The module `pynvml`, which has no types."""


def load_library() -> Library | None:
    """The library, ready to be asked; None where there is no GPU of NVIDIA's."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - optional
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class Gpus:
    """All of the machine, whichever the engine uses: NVML's numbers are those of `nvidia-smi`."""

    def __init__(self, library: Library | None) -> None:
        self._library = library

    def readings(self) -> Iterator[Reading]:
        """What cannot be read is left out: a virtual GPU tells no utilisation, a lost one nothing."""
        if self._library is None:
            return
        with suppress(self._library.NVMLError):
            for index in range(self._library.nvmlDeviceGetCount()):
                yield from _of_one(self._library, index)


def _of_one(library: Library, index: int) -> Iterator[Reading]:
    labels = (str(index),)
    with suppress(library.NVMLError):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        yield Reading("gpu_memory_used_bytes", memory.used, labels)
        yield Reading("gpu_memory_size_bytes", memory.total, labels)
        yield Reading("gpu_utilization_ratio", library.nvmlDeviceGetUtilizationRates(handle).gpu / 100, labels)
