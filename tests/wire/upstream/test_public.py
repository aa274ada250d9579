from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.wire.upstream.errors import ConnectError
from farthing.wire.upstream.public import NotPublicError, PublicResolver, why_not_public
from tests.wire.upstream.test_resolve import V4, V6, Names

#: Where addresses mean something else than a machine on the public Internet.
SPECIAL = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64",
    "2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8", "::ffff:0:0:0/96",
]  # fmt: skip


def within(network: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    return st.integers(0, network.num_addresses - 1).map(lambda offset: network[offset])


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
        "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888", "2a00::1", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert why_not_public(address) == ""


@given(st.sampled_from(SPECIAL).map(ip_network).flatmap(within))
def test_no_address_of_a_special_block_is_public(address: IPv4Address | IPv6Address) -> None:
    assert why_not_public(str(address))


@given(
    st.one_of(
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
        st.sampled_from(SPECIAL).map(ip_network).flatmap(within),
    )
)
def test_what_python_does_not_call_global_is_never_public(
    address: IPv4Address | IPv6Address,
) -> None:
    if not why_not_public(str(address)):
        assert address.is_global
        assert not address.is_multicast


@given(
    st.one_of(st.ip_addresses(v=4), st.sampled_from(SPECIAL[:15]).map(ip_network).flatmap(within))
)
def test_an_ipv4_address_in_another_is_judged_as_itself(address: IPv4Address) -> None:
    translated = IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))
    assert why_not_public(str(translated)) == why_not_public(str(address))
    assert why_not_public(f"::ffff:{address}")
    assert why_not_public(str(IPv6Address(0x2002 << 112 | int(address) << 80)))


@pytest.mark.parametrize(
    "address", ["fe80::1%eth0", "2606:4700::1111%1", "", "host", "1.2.3", "0x7f.1"]
)
def test_what_is_no_plain_address_is_not_public(address: str) -> None:
    assert why_not_public(address)


async def test_one_address_inside_makes_the_whole_name_refused() -> None:
    good, bad = (V4, "8.8.8.8"), (V6, "fd00:ec2::254")
    assert await PublicResolver(Names([good])).addresses("x") == [good]
    with pytest.raises(NotPublicError, match="private"):
        await PublicResolver(Names([good, bad])).addresses("x")
    with pytest.raises(ConnectError, match="no such"):
        await PublicResolver(Names(OSError(1, "no such"))).addresses("x")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "localhost"]
)
async def test_numbers_and_the_names_that_the_machine_knows_are_judged_too(host: str) -> None:
    with pytest.raises(NotPublicError):
        await PublicResolver().addresses(host)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
async def test_numbers_in_other_spellings_are_judged_as_what_the_machine_takes_them_for(
    host: str,
) -> None:
    with pytest.raises(ConnectError):  # unknown to some systems, the loopback address to others
        await PublicResolver().addresses(host)
