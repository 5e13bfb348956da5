"""
To tags that need no memory: a retransmitted request gets the same one again (RFC 3261 §8.2.7).
"""

from __future__ import annotations

from hashlib import blake2b
from os import urandom
from typing import Final

__all__ = ["stableTag"]

_KEY: Final = urandom(16)


def stableTag(identity: bytes) -> bytes:
    """
    @param identity: what tells the request from all others.
    @return: a tag of 16 hexadecimal digits, the same for the same identity within this process, which
        nobody outside can foretell.
    """
    return blake2b(identity, digest_size=8, key=_KEY).hexdigest().encode("ascii")
