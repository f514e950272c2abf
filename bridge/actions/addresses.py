"""Which addresses we may send requests to. Pure.

A webhook's URL can come from anybody who may write a rule, and a name can be made to point at
anything; so what counts is the address that is connected to. Python's own `is_global` is not
enough: what it says depends on the version, and it takes 6to4 and NAT64 for global.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

PRIVATE = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.168.0.0/16",  # RFC 1918
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "240.0.0.0/4",  # reserved, and broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "100::/64",  # discard
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
    )
)
"""Addresses of the own network; only for targets with `allow_private`."""

NEVER = tuple(
    ip_network(network)
    for network in (
        "169.254.169.254/32",  # instance metadata of most clouds
        "169.254.170.2/32",  # container credentials, AWS
        "100.100.100.200/32",  # instance metadata, Alibaba
        "192.0.0.192/32",  # instance metadata, Oracle
        "fd00:ec2::254/128",  # instance metadata, AWS
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "64:ff9b::/96",  # NAT64: another address inside
        "64:ff9b:1::/48",  # NAT64, local
        "2001::/32",  # Teredo: another address inside
        "2002::/16",  # 6to4: another address inside
        "ff00::/8",  # multicast
    )
)
"""Addresses for nobody: credentials of the machine, and ways to say another address."""


def forbidden(address: str, *, allow_private: bool) -> str | None:
    """Return why a connection to this address is not allowed, None if it is.

    `address` is what the resolver gave, an IP address with or without a zone.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "it is not an IP address"
    ip = _meant(ip)
    if any(ip in network for network in NEVER if network.version == ip.version):
        return "no webhook may reach it"
    if allow_private:
        return None
    if any(ip in network for network in PRIVATE if network.version == ip.version):
        return "it is private; `allow_private` allows it"
    return None


def _meant(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped if mapped is not None else ip
