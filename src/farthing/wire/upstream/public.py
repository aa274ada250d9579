"""Addresses that lead to the public Internet, and a resolver that gives no others: for URLs that strangers send.

A name is looked up once, each of its addresses is judged, and the connection goes to an address that was judged: a
name that means another machine a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from farthing.wire.upstream.errors import ConnectError
from farthing.wire.upstream.resolve import Address, Resolver

#: Not of the public Internet (IANA IPv4 Special-Purpose Address Registry; RFC 5735, 6598, 6890, 7526), and why.
_V4 = {
    IPv4Network("0.0.0.0/8"): "of this machine",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "shared by a provider's customers",
    IPv4Network("127.0.0.0/8"): "of this machine",
    # Azure's own services for a virtual machine, its secrets among them, behind a public address.
    IPv4Network("168.63.129.16/32"): "a cloud's inner one",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "reserved",
    IPv4Network("192.0.2.0/24"): "reserved",
    IPv4Network("192.88.99.0/24"): "reserved",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("198.18.0.0/15"): "reserved",
    IPv4Network("198.51.100.0/24"): "reserved",
    IPv4Network("203.0.113.0/24"): "reserved",
    IPv4Network("224.0.0.0/4"): "for many at once",
    IPv4Network("240.0.0.0/4"): "reserved",
}
#: All that is given out for the public Internet (RFC 4291, 2.4; IANA IPv6 Global Unicast Address Assignments) ...
_V6_GLOBAL = IPv6Network("2000::/3")
#: ... but for these: protocol assignments with Teredo, documentation, and 6to4, which hides IPv4 addresses.
_V6 = (
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)
#: IPv4 addresses behind a translator (RFC 6052); in networks without IPv4 every old address looks so.
_NAT64 = IPv6Network("64:ff9b::/96")


class NotPublicError(ConnectError):
    """A host that is not on the public Internet."""


class PublicResolver(Resolver):
    """Gives a host's addresses if all of them are public. One that is not is a reason to trust none."""

    async def addresses(self, host: str) -> list[Address]:
        """Raises NotPublicError, ConnectError."""
        found = await super().addresses(host)
        for _, address in found:
            why = why_not_public(address)
            if why:
                raise NotPublicError(f"its host has an address that is {why}")
        return found


def why_not_public(address: str) -> str:
    """What is wrong with a numeric address, in words behind "is"; empty when it is public."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "none"
    return _why_not_v4(parsed) if isinstance(parsed, IPv4Address) else _why_not_v6(parsed)


def _why_not_v4(address: IPv4Address) -> str:
    return next((why for network, why in _V4.items() if address in network), "")


def _why_not_v6(address: IPv6Address) -> str:
    if address in _NAT64:
        return _why_not_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.is_loopback or address.is_unspecified:
        return "of this machine"
    if address.ipv4_mapped is not None:
        return _why_not_v4(address.ipv4_mapped) or "an IPv4 address in disguise"
    if address.scope_id is not None or address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "for many at once"
    if address not in _V6_GLOBAL:
        return "private" if address.is_private else "reserved"
    return "reserved" if any(address in network for network in _V6) else ""
