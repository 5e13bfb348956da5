"""
Calls that go before others: by the namespaces of their Resource-Priority (RFC 4412), or because they ask for
help (C{urn:service:sos}, RFC 5031).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sipgrace.message.message import Request

__all__ = ["Priorities"]

_SOS: Final = b"urn:service:sos"


class Priorities:
    """
    Which calls those are here.
    """

    __slots__ = ("_emergency", "_resources", "_some")

    def __init__(self, resources: Iterable[str] = (), emergency: bool = False) -> None:
        """
        @param resources: namespaces, each for all of its priorities (C{'esnet'}), or single values of one
            (C{'wps.0'}); in any case of letters (RFC 4412 §3.1).
        @param emergency: whether calls to C{urn:service:sos} and its sub-services are among them.
        """
        self._resources = frozenset(resource.lower().encode("ascii") for resource in resources)
        self._emergency = emergency
        self._some = bool(self._resources) or emergency

    def covers(self, request: Request) -> bool:
        """
        Whether this is an INVITE that goes before others. It looks at the Request-URI, whether or not a Route
        says where that is to go, and at each value of Resource-Priority.
        """
        if not self._some or request.method != b"INVITE":
            return False
        if self._emergency and _isSOS(request.uri):
            return True
        if not self._resources or not request.has(b"Resource-Priority"):
            return False
        for element in request.elements(b"Resource-Priority"):
            value = element.lower()
            if value in self._resources or value.partition(b".")[0] in self._resources:
                return True
        return False


def _isSOS(uri: bytes) -> bool:
    name = uri[: len(_SOS) + 1].lower()
    return name in (_SOS, _SOS + b".")
