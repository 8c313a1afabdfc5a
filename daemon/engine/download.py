"""Fetching one trusted file within a deadline for every sign of life, whatever hangs: the resolver, TLS, the server."""

import threading
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic

from daemon.wanted import LOOK_SECONDS, StillWanted, always

CHUNK = 256 * 1024
LARGEST = 256 * 1024 * 1024
"""Bytes. More cannot be weights of MobileNetV2."""


def download(url: str, path: Path, timeout: float, still_wanted: StillWanted = always) -> None:
    """Writes what is at `url` to `path`.

    Raises `OSError` (a `TimeoutError` after `timeout` seconds without a byte), and whatever `still_wanted` does.
    """
    transfer = _Transfer(url, path, timeout)
    # No thread can be made to stop looking up a name; a daemon thread can at least be left behind.
    threading.Thread(target=transfer.run, name="weights-download", daemon=True).start()
    transfer.wait(still_wanted)


class _Transfer:
    """The download in its thread, and the signs of life that it gives."""

    def __init__(self, url: str, path: Path, timeout: float) -> None:
        self._url, self._path, self._timeout = url, path, timeout
        self._alive = threading.Event()
        self._done = False
        self._error: OSError | None = None

    def run(self) -> None:
        try:
            self._copy()
        except urllib.error.HTTPError as error:
            # It is an answer as well, and holds its connection until it is closed.
            with error:
                self._error = OSError(f"HTTP {error.code} {error.reason}")
        except OSError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  # http.client's own errors are no OSError.
            self._error = OSError(f"{type(error).__name__}: {error}")
        self._done = True
        self._alive.set()

    def wait(self, still_wanted: StillWanted) -> None:
        while not self._done:
            self._wait_for_a_sign(still_wanted)
        if self._error is not None:
            raise self._error

    def _wait_for_a_sign(self, still_wanted: StillWanted) -> None:
        deadline = monotonic() + self._timeout
        while not self._alive.wait(min(LOOK_SECONDS, self._timeout)):
            still_wanted()
            if monotonic() >= deadline:
                raise TimeoutError(f"no answer within {self._timeout:g} s")
        self._alive.clear()
        still_wanted()

    def _copy(self) -> None:
        with (
            urllib.request.urlopen(self._url, timeout=self._timeout) as answer,  # noqa: S310  # Our own https URL.
            self._path.open("wb") as file,
        ):
            expected, received = answer.headers.get("Content-Length"), 0
            # `read` would return only once it has them all, and a slow line would seem silent.
            while chunk := answer.read1(CHUNK):
                received += len(chunk)
                if received > LARGEST:
                    raise OSError("far more than weights came")
                file.write(chunk)
                self._alive.set()
        if expected is not None and int(expected) != received:
            raise OSError(f"only {received} of {expected} bytes came")
