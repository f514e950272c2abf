"""The table of addresses that requests may go to."""

from __future__ import annotations

import pytest

from bridge.actions.addresses import forbidden

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "172.32.0.1"]
PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1"),
    *("127.255.255.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "100::1", "2001:db8::1", "3fff::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:192.168.0.1"),
]
NEVER = [
    *("169.254.169.254", "::ffff:169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192"),
    *("fd00:ec2::254", "192.88.99.1", "224.0.0.1", "239.255.255.255", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2001::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "ff02::1", "localhost", "", "1.2.3"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """For everybody."""
    assert forbidden(address, allow_private=False) is None
    assert forbidden(address, allow_private=True) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_for_targets_that_may(address: str) -> None:
    """However they are written."""
    assert forbidden(address, allow_private=False)
    assert forbidden(address, allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_for_nobody(address: str) -> None:
    """Credentials of the machine, ways to say another address, and what is no address."""
    assert forbidden(address, allow_private=False)
    assert forbidden(address, allow_private=True)
