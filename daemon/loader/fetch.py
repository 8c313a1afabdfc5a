"""One image's bytes, from wherever its location says."""

from ssl import SSLContext

from daemon.loader.files import read_file
from daemon.loader.location import Kind, parse
from daemon.loader.options import FetchOptions
from daemon.loader.stores import read_object
from daemon.loader.web import WebFetcher


class Fetcher:
    """Fetches for one thread. `trust`: whom its TLS connections trust."""

    def __init__(self, options: FetchOptions, trust: SSLContext) -> None:
        self._options = options
        self._web = WebFetcher(options, trust=trust)

    def fetch(self, location: str) -> bytes:
        """The bytes at this location. Raises `LoadError` with the reason."""
        place = parse(location)
        match place.kind:
            case Kind.WEB:
                return self._web.fetch(place.target)
            case Kind.FILE:
                return read_file(place.target, roots=self._options.file_roots, max_bytes=self._options.max_bytes)
            case Kind.STORE:
                return read_object(place.scheme, place.target, self._options)
