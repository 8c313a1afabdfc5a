"""Whether what takes long is still wanted. Pure."""

from collections.abc import Callable

LOOK_SECONDS = 0.5
"""Between two such questions of who waits for something."""

StillWanted = Callable[[], None]
"""Called between two steps, and while one of them waits. Raises `NotWantedError` once nobody wants the rest."""


class NotWantedError(Exception):
    """Somebody asked for the end meanwhile. It is no `VectordError`, for which another way might be tried."""


def always() -> None:
    """Goes on to the end."""
