"""What the loaders are told: plain values, frozen, and fit to be sent to a child as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

THUMBNAIL_SIDE = 256
"""Pixels of a thumbnail's longer side at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """The section `fetch` of the configuration. Times in seconds, sizes in bytes."""

    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    total_timeout: float = 20.0
    max_bytes: int = 32 * 1024 * 1024
    max_redirects: int = 3
    per_host: int = 8
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    allow_ports: tuple[int, ...] = ()
    """Empty: 80 and 443. With 0 in it: any."""
    file_roots: tuple[str, ...] = ()
    user_agent: str = "vectord"
    ca_file: str = ""
    """Certificates to trust instead of certifi's, in PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """The section `loader`, the size of the pictures, and what a pool needs besides."""

    processes: int = 1
    threads: int = 4
    urgent_threads: int = 2
    """Of each loader, beyond those, for urgent images alone."""
    timeout_seconds: float = 30.0
    memory_mb: int = 1024
    max_pixels: int = 50_000_000
    input_size: int = 224
    srgb: bool = False
    """Convert embedded ICC profiles to sRGB. Other pixels, so it belongs into the signature where it is used."""
    slots: int = 256
    """Images in hand at most: waiting, being loaded, or loaded and not yet released."""
    urgent_slots: int = 16
    """Slots beyond those, for urgent images alone."""
    recycle_after: int = 2000
    """Images after which a loader is replaced, so that no leak of a codec grows for ever."""
    breaker_seconds: float = 5.0
    """The first pause of a host that keeps failing; it doubles each time, up to sixfold."""
    fetch: FetchOptions = field(default_factory=FetchOptions)

    @property
    def all_slots(self) -> int:
        return self.slots + self.urgent_slots

    @property
    def thumbnail_side(self) -> int:
        """Pixels of a thumbnail's longer side: its JPEG has to fit into a slot."""
        return min(self.input_size, THUMBNAIL_SIDE)


def to_plain(options: LoaderOptions) -> dict[str, Any]:
    """The options as JSON can hold them."""
    return asdict(options)


def from_plain(plain: Mapping[str, Any]) -> LoaderOptions:
    """The options back from what `to_plain` gave and JSON made lists of."""
    fetch: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain["fetch"].items()
    }
    return LoaderOptions(**{**plain, "fetch": FetchOptions(**fetch)})
