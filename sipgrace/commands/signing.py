"""
Orders that are signed on the command line: for processes whose C{signed_locally} asks for it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from sipgrace.lifecycle.orderform import SignedOrder, newNonce, sign
from sipgrace.lifecycle.orders import Announce, Kind, Order

__all__ = ["Signer", "signing"]

F = TypeVar("F", bound=Callable[..., Any])

#: For so many seconds an order is valid: it is given at once.
VALID: Final = 60.0


@dataclass(frozen=True, slots=True)
class Signer:
    """
    A key, and the name by which processes know it.

    @ivar name: as under C{[[orders.keys]]}.
    @ivar key: an C{Ed25519PrivateKey}.
    """

    name: str
    key: Any

    def order(self, node: str, kind: str, why: str = "", **values: Any) -> SignedOrder:
        """
        @param node: whom it is for.
        @param values: as L{sipgrace.control.remote.RemoteNode.order} is told them.
        @raise sipgrace.errors.OrderRefused: where something in it cannot be meant.
        """
        now = time.time()
        announce = values.pop("announce", None)
        order = Order(
            kind=Kind(kind),
            who=self.name,
            when=now,
            why=why,
            announce=None if announce is None else Announce(announce),
            node=node,
            nonce=newNonce(),
            expires=now + VALID,
            **values,
        )
        return sign(order, self.name, self.key)


def _signer(file: Path, name: str | None) -> Signer:
    # Slow to import, and seldom needed.
    from sipgrace.errors import ConfigError
    from sipgrace.transport.orderkey import readOrderKey

    try:
        key = readOrderKey(file)
    except ConfigError as error:
        raise click.UsageError(f"--key: {error}") from None
    if name is None:
        try:
            words = Path(f"{file}.pub").read_text("utf-8").split()
        except (OSError, UnicodeDecodeError):
            words = []
        if len(words) < 3:
            raise click.UsageError(
                f"--key: {file}.pub, whose comment would be the key's name, is not there or has none; "
                "give --key-name NAME"
            )
        name = words[2]
    return Signer(name, key)


def signing(function: F) -> F:
    """
    Gives a verb the options by which its order is signed; the function gets what signs it as the keyword
    C{signer}: C{None} for nothing. Below L{sipgrace.commands.reach.reaching}.
    """

    @click.option(
        "--key",
        "keyFile",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Sign the order with this key, as 'sipgrace keys order' makes it: for a process that takes "
        "signed orders alone (signed_locally).",
    )
    @click.option(
        "--key-name",
        "keyName",
        metavar="NAME",
        help="What the process calls that key; by default the comment in FILE.pub.",
    )
    @functools.wraps(function)
    def wrapped(reach: Any, *values: Any, keyFile: Path | None, keyName: str | None, **others: Any) -> Any:
        if keyFile is None:
            if keyName is not None:
                raise click.UsageError("--key-name is for --key FILE")
            return function(reach, *values, signer=None, **others)
        if reach.access is not None:
            raise click.UsageError("--key is for a process's own socket; a controller signs with its own key")
        return function(reach, *values, signer=_signer(keyFile, keyName), **others)

    return cast(F, wrapped)
