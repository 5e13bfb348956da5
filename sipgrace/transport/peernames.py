"""
Certificates for links between nodes and controllers, and the names in them. Both sides show one, and each
looks whether it bears the name that the other side is known by, letter for letter: these are names of this
network, not of hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import ssl

from sipgrace.errors import ConfigError
from sipgrace.transport.tlsoptions import identityAt, trustedAt

__all__ = ["linkOptions", "namesOf", "peerNames"]


def linkOptions(certificate: Path, key: Path, ca: Path) -> ssl.CertificateOptions:
    """
    TLS 1.3 for either side of a link; the other side must show a certificate, too.

    @param certificate: the file of our own (PEM), and of what stands above it.
    @param key: the file of its private key.
    @param ca: the file of those whose certificates are trusted; no others are.
    @raise ConfigError: when a file is missing, or holds no such thing.
    """
    private, (own, *chain) = identityAt(str(key), str(certificate), ("key", "certificate"))
    options = ssl.CertificateOptions(
        privateKey=private,
        certificate=own,
        extraCertChain=chain,
        trustRoot=ssl.trustRootFromCertificates(trustedAt(str(ca), "ca")),
        raiseMinimumTo=ssl.TLSVersion.TLSv1_3,
    )
    try:
        options.getContext()
    except SSL.Error:
        raise ConfigError(f"certificate: {str(certificate)!r} is not that of the key {str(key)!r}") from None
    return options


def peerNames(transport: Any) -> list[str]:
    """
    @param transport: of TLS, after the handshake.
    @return: the names in the other side's certificate (subjectAltName, dNSName); empty where it shows none.
    """
    certificate = transport.getPeerCertificate()
    return [] if certificate is None else namesOf(certificate.to_cryptography())


def namesOf(certificate: x509.Certificate) -> list[str]:
    """
    @return: the names in a certificate.
    """
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.value.get_values_for_type(x509.DNSName)
