"""
The certificate that a process shows on its links, for as long as the process runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from sipgrace.errors import ConfigError
from sipgrace.transport.peernames import linkOptions

__all__ = ["LinkCertificates"]

#: A certificate that is valid for no more than so many seconds is warned of, once a day.
_SOON: Final = 30 * 86400.0
_DAY: Final = 86400.0


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class LinkCertificates:
    """
    Reads the files again when they have changed, so that a certificate is renewed by putting another in its
    place: it counts for the connections that are made from then on, at either end. While the files cannot be
    used, or do not fit each other, those that were read last go on.
    """

    log = Logger()

    def __init__(
        self, certificate: Path, key: Path, ca: Path, wallClock: Callable[[], float] = time.time
    ) -> None:
        """
        @param certificate: see L{linkOptions}, as the next two.
        @raise ConfigError: when the files cannot be used.
        """
        self._paths = (certificate, key, ca)
        self._wallClock = wallClock
        self._warned = -_DAY
        self._seen: object = self._stamps()
        self._options: ssl.CertificateOptions = linkOptions(*self._paths)
        self.expires = self._expiry()
        self._warn()

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """
        See C{IOpenSSLClientConnectionCreator}.
        """
        return SSL.Connection(self.context(), None)

    serverConnectionForTLS = clientConnectionForTLS

    def context(self) -> SSL.Context:
        """
        @return: what the next connection is made with.
        """
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen
            self._read()
        self._warn()
        context: SSL.Context = self._options.getContext()
        return context

    def _stamps(self) -> object:
        stamps: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                status = os.stat(path)
            except OSError:
                stamps.append(None)
            else:
                stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return stamps

    def _read(self) -> None:
        try:
            self._options = linkOptions(*self._paths)
        except ConfigError as error:
            self.log.error(
                "{path} and what goes with it cannot be used, and what was read before goes on: {error}",
                path=str(self._paths[0]),
                error=error,
            )
            return
        self.expires = self._expiry()
        self._warned = -_DAY
        self.log.info("{path} was read again", path=str(self._paths[0]))

    def _expiry(self) -> float:
        found = x509.load_pem_x509_certificate(self._paths[0].read_bytes())
        return found.not_valid_after_utc.timestamp()

    def _warn(self) -> None:
        now = self._wallClock()
        if self.expires - now <= _SOON and now - self._warned >= _DAY:
            self._warned = now
            left = (self.expires - now) / _DAY
            when = f"expires in {left:.0f} days" if left > 0 else "has expired"
            self.log.warn("the certificate {path} {when}", path=str(self._paths[0]), when=when)
