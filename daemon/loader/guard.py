"""Which addresses may be connected to: pure, over resolved addresses, so that no spelling of a host matters.

Denied is what the IANA special-purpose registries do not call globally reachable, multicast, and the cloud metadata
addresses outside those; an address that carries an IPv4 address inside is judged by that one too. `ipaddress.is_global`
will not do: Python 3.11 calls 64:ff9b::a9fe:a9fe, 2002:7f00:1::, ::127.0.0.1 and 224.0.0.1 global.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6052 (NAT64), RFC 8215, RFC 3056 (6to4),
RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 4291 2.5.5 (mapped and compatible), RFC 2765 (translated).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from daemon.errors import Reason
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = (80, 443)

_SPECIAL_4 = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared (CGNAT)",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud metadata",
    "169.254.0.0/16": "link-local or cloud metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "255.255.255.255/32": "broadcast",
}
_SPECIAL_6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "64:ff9b:1::/48": "local translation",
    "100::/64": "discard",
    "2001:2::/48": "benchmarking",
    "2001:10::/28": "reserved",
    "2001:20::/28": "reserved",
    "2001:30::/28": "reserved",
    "2001:db8::/32": "documentation",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_SPECIAL: list[tuple[Network, str]] = [(ip_network(text), kind) for text, kind in (_SPECIAL_4 | _SPECIAL_6).items()]

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TEREDO = IPv6Network("2001::/32")
_6TO4 = IPv6Network("2002::/16")
_IETF_PROTOCOLS = IPv6Network("2001::/23")
_NAT64 = IPv6Network("64:ff9b::/96")
_CARRIERS = (  # Networks whose last 32 bits are an IPv4 address.
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("::ffff:0:0:0/96"),
    _NAT64,
)
_ISATAP = (0x00005EFE, 0x02005EFE)
"""What stands before the IPv4 address in an ISATAP interface id, with and without the universal bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is allowed beyond the public internet. Empty `ports`: 80 and 443; with 0 in it: any."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = field(default_factory=frozenset)
    ports: tuple[int, ...] = ()


def make_rules(options: FetchOptions) -> Rules:
    """Raises `ValueError` for a network that is not one."""
    return Rules(
        networks=tuple(ip_network(text, strict=False) for text in options.allow_networks),
        hosts=frozenset(plain_host(host) for host in options.allow_hosts),
        ports=options.allow_ports,
    )


def plain_host(host: str) -> str:
    """A host name as names are compared: lower case, ASCII, no brackets, no trailing dot."""
    name = host.strip().strip("[]").rstrip(".").lower()
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def check_port(port: int, rules: Rules) -> None:
    """Raises `LoadError` (blocked_port) unless the port is allowed."""
    if 0 not in rules.ports and port not in (rules.ports or DEFAULT_PORTS):
        raise LoadError(Reason.BLOCKED_PORT, f"port {port} is not allowed; fetch.allow_ports decides")


def check_addresses(host: str, addresses: list[str], rules: Rules) -> None:
    """Raises `LoadError` (blocked_address) unless every address that the host resolves to is allowed.

    One forbidden address among public ones is enough: a host that mixes them is up to no good.
    """
    if plain_host(host) in rules.hosts:
        return
    for address in addresses:
        kind = denied(address, rules)
        if kind is not None:
            raise LoadError(
                Reason.BLOCKED_ADDRESS,
                f"the host has a {kind} address; fetch.allow_networks (or fetch.allow_hosts) could allow it",
            )


def denied(address: str, rules: Rules) -> str | None:
    """What kind of address forbids the connection; None when it is allowed."""
    try:
        plain = ip_address(address.partition("%")[0])
    except ValueError:
        return "malformed"
    if _listed(plain, rules.networks):
        return None
    kinds = (None if _listed(inner, rules.networks) else special(inner) for inner in embedded(plain))
    return next((kind for kind in kinds if kind is not None), None) or _outer(plain)


def _outer(address: Address) -> str | None:
    """What is wrong with an address that carries no forbidden one: translators and tunnels may be used."""
    if any(address in network for network in (_NAT64, _6TO4, _TEREDO, IPv6Network("::ffff:0:0/96"))):
        return None
    return special(address)


def _listed(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def special(address: Address) -> str | None:
    """What kind of special address this is, looking at its own bits only; None for a public one."""
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address in _IETF_PROTOCOLS):
        return "reserved"
    return None


def embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address carries, by any of the known ways."""
    if isinstance(address, IPv4Address):
        return
    bits = int(address)
    if any(address in network for network in _CARRIERS) and bits > 1:
        yield _ipv4(bits)
    if address in _6TO4:
        yield _ipv4(bits >> 80)
    if address in _TEREDO:  # The relay's address as it is, the client's with its bits flipped.
        yield _ipv4(bits >> 64)
        yield _ipv4(~bits)
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield _ipv4(bits)


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFFFFFF)
