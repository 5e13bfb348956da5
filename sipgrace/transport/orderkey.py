"""
The file of a private key that signs orders.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from sipgrace.errors import ConfigError

__all__ = ["readOrderKey"]


def readOrderKey(path: Path) -> Ed25519PrivateKey:
    """
    @raise ConfigError: when there is none, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"expected a private key, but {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError(f"expected that only the owner may read {path}: chmod 600 {path}")
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"expected a private key in {path} (Ed25519, as OpenSSH writes it, without a passphrase); "
            "sipgrace keys order makes one"
        )
    return key
