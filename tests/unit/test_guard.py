import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import Reason
from daemon.loader.guard import Rules, check_addresses, check_port, denied, embedded, make_rules, plain_host, special
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError

OPEN = Rules()

DENIED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:7f00:0:1::",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1:8000:63bf:f7f7:f7f7",
    "2001:0:808:808:8000:63bf:80ff:fffe",
    "2600::200:5efe:10.0.0.1",
    "2600::5efe:127.0.0.1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "2001:0:808:808:8000:63bf:f7f7:f7f7",
    "2600::200:5efe:8.8.8.8",
]


@pytest.mark.parametrize("address", DENIED)
def test_special_addresses_are_denied(address: str) -> None:
    assert denied(address, OPEN) is not None


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_are_allowed(address: str) -> None:
    assert denied(address, OPEN) is None


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.0.0/16", "64:ff9b::a01:203"),
        ("::1/128", "::1"),
        ("fd00::/8", "fd12::1"),
        ("::ffff:127.0.0.1/128", "::ffff:127.0.0.1"),
    ],
)
def test_a_listed_network_is_allowed(network: str, address: str) -> None:
    assert denied(address, OPEN) is not None
    assert denied(address, Rules(networks=(ip_network(network),))) is None


def test_a_network_may_be_listed_by_any_address_in_it() -> None:
    rules = make_rules(FetchOptions(allow_networks=("10.1.2.3/16",)))
    assert denied("10.1.9.9", rules) is None
    assert denied("10.2.2.3", rules) is not None


def test_a_listed_network_allows_nothing_beside_it() -> None:
    rules = Rules(networks=(ip_network("10.1.0.0/16"),))
    assert denied("10.2.0.1", rules) is not None
    assert denied("::ffff:127.0.0.1", rules) is not None


@pytest.mark.parametrize(
    "spelling",
    ["127.1", "127.0.1", "0x7f000001", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"],
)
def test_no_spelling_of_loopback_gets_through_the_resolver(spelling: str) -> None:
    addresses = [str(found[4][0]) for found in socket.getaddrinfo(spelling, 80, type=socket.SOCK_STREAM)]
    with pytest.raises(LoadError) as caught:
        check_addresses(spelling, addresses, OPEN)
    assert caught.value.reason is Reason.BLOCKED_ADDRESS


def test_the_message_names_the_key_and_no_address() -> None:
    with pytest.raises(LoadError) as caught:
        check_addresses("intranet.example", ["10.9.8.7"], OPEN)
    assert "fetch.allow_networks" in caught.value.detail
    assert "fetch.allow_hosts" in caught.value.detail
    assert "10.9.8.7" not in caught.value.detail


def test_one_private_address_among_public_ones_is_enough() -> None:
    with pytest.raises(LoadError):
        check_addresses("two.example", ["8.8.8.8", "10.0.0.1"], OPEN)
    check_addresses("two.example", ["8.8.8.8", "2606:4700:4700::1111"], OPEN)


@pytest.mark.parametrize("host", ["photos.internal", "PHOTOS.internal."])
def test_an_allowed_host_may_be_anywhere(host: str) -> None:
    rules = make_rules(FetchOptions(allow_hosts=("Photos.Internal",)))
    check_addresses(host, ["10.0.0.1"], rules)


def test_an_allowed_host_is_a_whole_name() -> None:
    rules = make_rules(FetchOptions(allow_hosts=("internal",)))
    with pytest.raises(LoadError):
        check_addresses("photos.internal", ["10.0.0.1"], rules)


def test_names_are_compared_in_ascii() -> None:
    assert plain_host("BÜCHER.example.") == "xn--bcher-kva.example"
    assert plain_host("[::1]") == "::1"


@pytest.mark.parametrize(
    ("ports", "port", "allowed"),
    [((), 80, True), ((), 443, True), ((), 8080, False), ((8080,), 8080, True), ((8080,), 80, False), ((0,), 22, True)],
)
def test_ports(ports: tuple[int, ...], port: int, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    if allowed:
        check_port(port, Rules(ports=ports))
        return
    with pytest.raises(LoadError, match=r"fetch\.allow_ports") as caught:
        check_port(port, Rules(ports=ports))
    assert caught.value.reason is Reason.BLOCKED_PORT


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        make_rules(FetchOptions(allow_networks=("the office",)))


def carriers(inner: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that carry this one."""
    bits = int(inner)
    tails = ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "2600::5efe:0:0", "2600::200:5efe:0:0"]
    return [
        *(IPv6Address(int(IPv6Address(tail)) | bits) for tail in tails),
        IPv6Address((0x2002 << 112) | (bits << 80)),
        IPv6Address((0x20010000 << 96) | (bits << 64)),
        IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (bits ^ 0xFFFFFFFF)),
    ]


@given(st.ip_addresses(v=4))
def test_no_carrier_gets_a_denied_address_through(inner: IPv4Address) -> None:
    if special(inner) is not None and int(inner) > 1:
        assert all(denied(str(outer), OPEN) is not None for outer in carriers(inner))


@given(st.ip_addresses(v=4))
def test_every_carrier_is_unwrapped(inner: IPv4Address) -> None:
    if int(inner) > 1:
        assert all(inner in list(embedded(outer)) for outer in carriers(inner))


@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_is_allowed_but_carriers(address: IPv6Address) -> None:
    carries = any(address in IPv6Network(net) for net in ("64:ff9b::/96", "::ffff:0:0/96"))
    if address not in IPv6Network("2000::/3") and not carries:
        assert denied(str(address), OPEN) is not None


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_denied(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        carried = list(embedded(address))
        if not carried:
            assert denied(str(address), OPEN) is not None


@given(st.ip_addresses(), st.sampled_from(["10.0.0.0/8", "fd00::/8", "127.0.0.0/8"]))
def test_the_allow_list_never_denies(address: IPv4Address | IPv6Address, network: str) -> None:
    if denied(str(address), OPEN) is None:
        assert denied(str(address), Rules(networks=(ip_network(network),))) is None
