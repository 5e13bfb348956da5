"""
What a server that is reached by HTTPS must show, and what is shown to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from sipgrace.transport.tlsoptions import clientOptions

__all__ = ["HTTPSTrust"]


@implementer(IPolicyForHTTPS)
class HTTPSTrust:
    """
    The files are read for each connection, so that a certificate is renewed by putting another in its place.
    """

    def __init__(self, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
        """
        @param ca: the file of those who are trusted (PEM); C{None} for those that the platform trusts.
        @param certificate: the file of our own, where one is shown; C{key}: that of its private key.
        """
        files = {"caCerts": ca, "certKey": certificate, "privateKey": key}
        self._values = {name: str(path) for name, path in files.items() if path is not None}

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """
        See C{IPolicyForHTTPS}.

        @raise ConfigError: when a file cannot be used.
        """
        return clientOptions(self._values, hostname.decode("ascii"))
