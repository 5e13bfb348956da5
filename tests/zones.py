"""
A DNS server for tests: C{twisted.names} with records of their own.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.common import ResolverBase
from twisted.names.error import DNSServerError

#: The zone that every test has for itself.
DOMAIN = b"example.org"


class Zone(FileAuthority):
    """
    What is known of a domain, to be changed at any time.

    @ivar records: by name, in lower case.
    @ivar asked: how often each name was asked for.
    @ivar broken: whether it answers nothing but that it cannot.
    @ivar mute: names for which it does so.
    """

    def __init__(self, **records: list[Any]) -> None:
        """
        @param records: by name below the domain; two underscores stand for a dot, and C{at} for the domain
            itself.
        """
        ResolverBase.__init__(self)
        self.asked: Counter[str] = Counter()
        self.broken = False
        self.mute: set[bytes] = set()
        soa = dns.Record_SOA(mname=b"ns." + DOMAIN, rname=b"root." + DOMAIN, serial=1, minimum=1, expire=1)
        self.soa = (DOMAIN, soa)
        self.records: dict[bytes, list[Any]] = {DOMAIN: [soa]}
        for name, found in records.items():
            self.put(name, found)

    def put(self, name: str, records: list[Any]) -> None:
        """
        Replaces the records of a name.
        """
        if name == "at":
            self.records[DOMAIN] = [self.soa[1], *records]
        else:
            self.records[name.replace("__", ".").encode() + b"." + DOMAIN] = records

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any = None) -> Deferred[Any]:
        self.asked[f"{dns.QUERY_TYPES.get(type, type)} {name.decode()}"] += 1
        if self.broken or name.lower() in self.mute:
            return fail(DNSServerError(None))
        return FileAuthority._lookup(self, name, cls, type, timeout)


def naptr(order: int, service: bytes, replacement: bytes, preference: int = 0, ttl: int = 300) -> Any:
    """
    A pointer to SRV records.
    """
    return dns.Record_NAPTR(order, preference, b"s", service, b"", replacement, ttl=ttl)


def srv(priority: int, weight: int, port: int, target: bytes, ttl: int = 300) -> Any:
    """
    A server below the domain.
    """
    return dns.Record_SRV(priority, weight, port, target + b"." + DOMAIN, ttl=ttl)


def a(address: str, ttl: int = 300) -> Any:
    """
    An IPv4 address.
    """
    return dns.Record_A(address, ttl=ttl)


def aaaa(address: str, ttl: int = 300) -> Any:
    """
    An IPv6 address.
    """
    return dns.Record_AAAA(address, ttl=ttl)
