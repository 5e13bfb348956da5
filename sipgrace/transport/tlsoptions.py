"""
Certificates for SIP over TLS (RFC 3261 §26.3.1): TLS 1.2 and later; whoever names C{caCerts} asks the
other side for a certificate that those vouch for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from sipgrace.errors import ConfigError

__all__ = ["CERTIFICATE_ARGUMENTS", "clientOptions", "identityAt", "serverOptions", "trustedAt"]

#: What descriptions of TLS listeners and connections may name, each a PEM file: the private key; our
#: certificate, and the chain above it (unless both are in the file of the key); those we trust.
CERTIFICATE_ARGUMENTS = ("privateKey", "certKey", "caCerts")

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def serverOptions(values: Mapping[str, str]) -> ssl.CertificateOptions:
    """
    @param values: C{privateKey} is needed; with C{caCerts} each client must show a certificate.

    @raise ConfigError: a file is missing or holds no such thing.
    """
    if "privateKey" not in values:
        raise ConfigError("a tls: listener needs privateKey=FILE, and certKey=FILE unless that has both")
    key, (certificate, *chain) = _identity(values)
    options = ssl.CertificateOptions(
        privateKey=key,
        certificate=certificate,
        extraCertChain=chain,
        trustRoot=ssl.trustRootFromCertificates(_trusted(values)) if "caCerts" in values else None,
        raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
    )
    try:
        options.getContext()
    except SSL.Error:
        raise ConfigError(f"certKey: its certificate is not that of {values['privateKey']!r}") from None
    return options


def clientOptions(values: Mapping[str, str], name: str) -> IOpenSSLClientConnectionCreator:
    """
    @param values: C{privateKey} shows a certificate to servers that ask; without C{caCerts} those
        that the platform trusts are trusted.
    @param name: the host name or IP address that the server's certificate must bear (RFC 5922).

    @raise ConfigError: a file is missing or holds no such thing.
    """
    own = None
    extra: dict[str, object] = {"raiseMinimumTo": ssl.TLSVersion.TLSv1_2}
    if "privateKey" in values:
        key, (certificate, *chain) = _identity(values)
        try:
            own = ssl.PrivateCertificate.fromCertificateAndKeyPair(
                ssl.Certificate(certificate), ssl.KeyPair(key)
            )
        except VerifyError:
            raise ConfigError(f"certKey: its certificate is not that of {values['privateKey']!r}") from None
        extra["extraCertChain"] = chain
    trust = ssl.trustRootFromCertificates(_trusted(values)) if "caCerts" in values else ssl.platformTrust()
    try:
        return ssl.optionsForClientTLS(
            name, trustRoot=trust, clientCertificate=own, extraCertificateOptions=extra
        )
    except SSL.Error:
        raise ConfigError(f"certKey: its certificate is not that of {values['privateKey']!r}") from None


def _identity(values: Mapping[str, str]) -> tuple[crypto.PKey, list[crypto.X509]]:
    path = values["privateKey"]
    return identityAt(path, values.get("certKey", path), ("privateKey", "certKey"))


def _trusted(values: Mapping[str, str]) -> list[ssl.Certificate]:
    return trustedAt(values["caCerts"], "caCerts")


def identityAt(
    path: str, certificate: str, names: tuple[str, str]
) -> tuple[crypto.PKey, list[crypto.X509]]:
    """
    @param path: the file of the private key.
    @param certificate: the file of its certificate, and of those above it.
    @param names: what errors call the two.
    @return: the key and the certificates.
    @raise ConfigError: a file is missing or holds no such thing.
    """
    try:
        # The empty passphrase keeps OpenSSL from asking for one on the terminal.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, _read(names[0], path), b"")
    except crypto.Error:
        raise ConfigError(f"{names[0]}: {path!r} holds no unencrypted private key (PEM)") from None
    return key, _certificates(names[1], certificate)


def trustedAt(path: str, name: str) -> list[ssl.Certificate]:
    """
    @param name: what errors call the file.
    @return: the certificates in a file.
    @raise ConfigError: it is missing or holds none.
    """
    return [ssl.Certificate(one) for one in _certificates(name, path)]


def _certificates(name: str, path: str) -> list[crypto.X509]:
    try:
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, pem) for pem in _PEM.findall(_read(name, path))]
    except crypto.Error:
        found = []
    if not found:
        raise ConfigError(f"{name}: {path!r} holds no certificate (PEM)")
    return found


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {path!r}: {error.strerror}") from None
