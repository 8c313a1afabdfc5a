"""One image's bytes, from wherever its location says."""

from ssl import SSLContext

from daemon.errors import Reason
from daemon.loader.files import read_file
from daemon.loader.location import Kind, Place, parse
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError
from daemon.loader.stores import read_object
from daemon.loader.web import WebFetcher


class Fetcher:
    """Fetches for one thread. `trust`: whom its TLS connections trust."""

    def __init__(self, options: FetchOptions, trust: SSLContext) -> None:
        self._options = options
        self._web = WebFetcher(options, trust=trust)

    def fetch(self, location: str) -> bytes:
        """The bytes at this location. Raises `LoadError` with the reason, and `MemoryError`."""
        place = parse(location)
        try:
            return self._fetch(place)
        except (LoadError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - what a server or a driver provokes ends one image, and no thread
            reason = Reason.CONNECTION_FAILED if place.kind is Kind.WEB else Reason.FILE_ERROR
            raise LoadError(reason, type(error).__name__) from None

    def _fetch(self, place: Place) -> bytes:
        match place.kind:
            case Kind.WEB:
                return self._web.fetch(place.target)
            case Kind.FILE:
                return read_file(place.target, roots=self._options.file_roots, max_bytes=self._options.max_bytes)
            case Kind.STORE:
                return read_object(place.scheme, place.target, self._options)
