"""
A small certification authority in a folder, for links between nodes and controllers: its own certificate, and
those it has signed. Each names one element of the network; any may stand at either end of a link, so there is
one kind of them.

Nothing is ever overwritten, and nobody but the owner may read a private key.
"""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipgrace.errors import ConfigError

__all__ = ["CA_CERTIFICATE", "CA_KEY", "Authority", "checkName", "checkNew", "writeNew"]

#: The files of the authority itself.
CA_CERTIFICATE: Final = "ca.crt"
CA_KEY: Final = "ca.key"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}\Z")
#: A certificate is valid from a little earlier, for clocks that are behind.
_BEFORE = datetime.timedelta(hours=1)

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey


def newKey(algorithm: str) -> PrivateKey:
    """
    @param algorithm: C{'p256'} or C{'ed25519'}.
    """
    return Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def pem(key: PrivateKey) -> bytes:
    """
    @return: a private key as it stands in a file.
    """
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def writeNew(path: Path, data: bytes, mode: int) -> None:
    """
    Writes a file that is not there yet.

    @raise ConfigError: where it is, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with open(descriptor, "wb") as file:
        # Whatever the umask says.
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def checkName(name: str) -> None:
    """
    @raise ConfigError: for a name that nothing can have in a configuration.
    """
    if not _NAME.match(name):
        raise ConfigError(
            f"expected a name (a letter, then letters, digits, '_', '.', '-'; 63 at most), found {name!r}"
        )


def checkNew(paths: list[Path]) -> None:
    """
    Looks first, so that of two files not one is written.

    @raise ConfigError: where one is there already.
    """
    for path in paths:
        if os.path.lexists(path):
            raise _there(path)


def _there(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is there already, and nothing is ever overwritten; give another --dir, or move it away"
    )


class Authority:
    """
    The authority of one folder.
    """

    def __init__(self, folder: Path, certificate: x509.Certificate, key: PrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def make(
        cls, folder: Path, name: str, days: int, algorithm: str, now: datetime.datetime
    ) -> Authority:
        """
        Makes one.

        @param folder: is made where it is not there.
        @param name: what it calls itself.
        @param days: how long its certificate is valid.
        @raise ConfigError: where there is one already, or it cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be made: {error.strerror}") from None
        certificatePath, keyPath = folder / CA_CERTIFICATE, folder / CA_KEY
        checkNew([keyPath, certificatePath])
        key = newKey(algorithm)
        subject = _named(name)
        builder = _begun(subject, subject, key, now, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(ca=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        certificate = builder.sign(key, _hash(key))
        writeNew(keyPath, pem(key), 0o600)
        writeNew(certificatePath, certificate.public_bytes(Encoding.PEM), 0o644)
        return cls(folder, certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """
        Reads it.

        @raise ConfigError: where there is none.
        """
        try:
            certificate = x509.load_pem_x509_certificate((folder / CA_CERTIFICATE).read_bytes())
            key = load_pem_private_key((folder / CA_KEY).read_bytes(), None)
        except OSError as error:
            raise ConfigError(
                f"{error.filename} cannot be read: {error.strerror}; sipgrace keys init makes a CA"
            ) from None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{folder} holds no CA of sipgrace keys: {error}") from None
        if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
            raise ConfigError(f"{folder / CA_KEY} holds no key of sipgrace keys")
        return cls(folder, certificate, key)

    def certify(
        self, name: str, days: int, algorithm: str, now: datetime.datetime, to: Path | None = None
    ) -> tuple[Path, Path]:
        """
        Makes the certificate of one element of the network, and its key.

        @param to: the folder; the authority's own by default.
        @return: the files of the certificate and of the key.
        @raise ConfigError: for a name that is none, or where a file is there already.
        """
        checkName(name)
        folder = self.folder if to is None else to
        certificatePath, keyPath = folder / f"{name}.crt", folder / f"{name}.key"
        if name == "ca":
            raise ConfigError("ca is the name of the CA's own files; give another")
        checkNew([keyPath, certificatePath])
        key = newKey(algorithm)
        builder = _begun(_named(name), self._certificate.subject, key, now, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(ca=False), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, False)
        certificate = builder.sign(self._key, _hash(self._key))
        writeNew(keyPath, pem(key), 0o600)
        writeNew(certificatePath, certificate.public_bytes(Encoding.PEM), 0o644)
        return certificatePath, keyPath


def _named(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise ConfigError(f"{name!r} cannot be a name in a certificate: {error}") from None


def _begun(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
