"""
The section about orders, which both roles have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from sipgrace.config.sections import Many, Section
from sipgrace.config.values import FilePath, Mistake, Name, Seconds, mistakes, once

__all__ = ["OrderKey", "OrdersSection", "PublicKey"]


def _publicKey(value: object) -> Ed25519PublicKey:
    expected = f"expected a public key such as 'ssh-ed25519 AAAAC3NzaC1...', found {str(value)[:30]!r}"
    if not isinstance(value, str):
        raise ValueError(expected)
    try:
        key = load_ssh_public_key(value.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(expected) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(expected)
    return key


def _written(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


PublicKey = Annotated[Ed25519PublicKey, BeforeValidator(_publicKey), PlainSerializer(_written)]
"""An Ed25519 public key as OpenSSH writes it: C{ssh-ed25519 AAAAC3NzaC1...}."""


class OrderKey(Section):
    """
    A key that orders may be signed with.
    """

    name: Name
    """By this name orders say which key signed them, and the audit log who gave them."""

    role: Literal["viewer", "operator", "admin"]
    """What may be ordered with it: rehearsals; all that loses no call; all."""

    public: PublicKey
    """The key, as it stands in a .pub file of ssh-keygen -t ed25519."""


class OrdersSection(Section):
    """
    Who may give orders, and where they are written down; see docs/orders.rst.
    """

    verify: Literal["self", "controller", "none"] = "self"
    """How an order that a controller's link brings is verified: by its signature; by asking the controller;
    not at all, so that whoever may connect may give orders."""

    keys: Annotated[tuple[OrderKey, ...], Many] = ()
    """The keys that orders may be signed with, one table each."""

    signedLocally: bool = False
    """Whether orders from the control socket and the manhole need a signature, too. Signals do not. The
    command line signs with --key; the manhole cannot, so it only looks on then."""

    longest: Annotated[Seconds, Field(ge=1, le=86400)] = 3600.0
    """How long a signed order may be valid. As long its nonce is remembered."""

    skew: Annotated[Seconds, Field(ge=0, le=3600)] = 30.0
    """How far the clock of whoever signs an order may be ahead of ours."""

    clientsApprove: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many associated clients must say yes before a drain; 0 asks none. Signals, overload and the
    schedule ask none either."""

    approveWithin: Annotated[Seconds, Field(ge=0.1, le=60)] = 5.0
    """The time they have; a silent one is a no."""

    audit: FilePath | None = None
    """The audit log: one JSON object a line for each order, on the disk before it acts. Needed with keys."""

    nonces: FilePath | None = None
    """The file of signed orders that have been given, so that none is obeyed twice. By default beside the
    audit log, with .nonces after its name."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        found: list[Mistake] = []
        for path, text in once([key.name for key in self.keys], "key"):
            found.append((("keys", *path), text))
        if self.keys and self.audit is None:
            found.append((("audit",), "expected the path of the audit log, which keys need, found none"))
        mistakes(found)
        return self

    @property
    def noncesPath(self) -> Path | None:
        """
        Where they are kept; C{None} for nowhere.
        """
        if self.nonces is not None or self.audit is None:
            return self.nonces
        return self.audit.with_name(self.audit.name + ".nonces")
