"""
Keys and tokens for tests.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

#: What alice says, and what the controller knows it by.
TOKEN = "sgt_alice-of-the-tests"
DIGEST = sha256(TOKEN.encode("ascii")).hexdigest()


def makeOrderKey(path: Path) -> str:
    """
    Makes a key that signs orders.

    @return: its public half, as a node's configuration has it.
    """
    key = Ed25519PrivateKey.generate()
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
