"""
Orders as they are written down: the one form of bytes that is signed, and the signature beside it.

An order has exactly one text: a JSON object with sorted keys, no blanks, nothing escaped that need not be,
nothing in it that is not set, and all times as whole milliseconds, so that no two programs write a number
differently. What is signed is L{DOMAIN}, then that text in UTF-8. Whoever takes it in reads the very text
that was signed, and refuses one that is not in this form. C{docs/orders.rst} says it in full.
"""

from __future__ import annotations

import binascii
import json
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.orders import Announce, Kind, Order

__all__ = ["DOMAIN", "LONGEST", "SignedOrder", "fromText", "newNonce", "sign", "signedBytes", "toText"]

#: What every signed order begins with, so that a signature for it is good for nothing else.
DOMAIN = b"sipgrace order 1\n"

#: The longest text of an order, in characters.
LONGEST = 8192

# The names in the text, and those of L{Order}.
_TIMES = {
    "when_ms": "when",
    "expires_ms": "expires",
    "guard_ms": "guard",
    "retry_after_ms": "retryAfter",
    "over_ms": "over",
    "back_ms": "back",
}
_TEXTS = {key: key for key in ("kind", "who", "why", "announce", "then", "server", "rule", "node", "nonce")}
_NEEDED = ("kind", "who", "when_ms")


def newNonce() -> str:
    """
    @return: what no other order has.
    """
    return secrets.token_hex(16)


def toText(order: Order) -> str:
    """
    @return: its text. Times are rounded to the millisecond.
    """
    values: dict[str, str | int] = {}
    for key, name in _TEXTS.items():
        text = getattr(order, name)
        if text:
            values[key] = str(text)
    for key, name in _TIMES.items():
        seconds = getattr(order, name)
        if seconds is not None:
            values[key] = round(seconds * 1000)
    return _write(values)


def _write(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def fromText(text: str) -> Order:
    """
    @return: the order of which this is the text.
    @raise OrderRefused: when it is no order's.
    """
    if len(text) > LONGEST:
        raise OrderRefused(f"the order is {len(text)} characters long; at most {LONGEST} are expected")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise OrderRefused("the order is not JSON") from None
    if not isinstance(values, dict):
        raise OrderRefused("the order is no JSON object")
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key in _TEXTS:
            if not isinstance(value, str) or not value:
                raise OrderRefused(f"the order's {key} is no text")
            fields[key] = value
        elif key in _TIMES:
            # bool is an int to Python.
            if type(value) is not int or not 0 <= value < 1 << 53:
                raise OrderRefused(f"the order's {key} is not a whole number of milliseconds from 0 up")
            fields[_TIMES[key]] = value / 1000
        else:
            raise OrderRefused(f"the order has {key[:50]!r}, which is not known here")
    for key in _NEEDED:
        if key not in values:
            raise OrderRefused(f"the order has no {key}")
    _word(fields, "kind", Kind)
    _word(fields, "announce", Announce)
    order = Order(**fields)
    if _write(values) != text:
        raise OrderRefused("the order is not in the one form that can be signed (sorted keys, no blanks)")
    return order


def _word(fields: dict[str, Any], name: str, known: type[StrEnum]) -> None:
    if name in fields:
        try:
            fields[name] = known(fields[name])
        except ValueError:
            raise OrderRefused(f"the order's {name} is none of {', '.join(known)}") from None


def signedBytes(text: str) -> bytes:
    """
    @param text: an order's text.
    @return: what is signed.
    @raise OrderRefused: for a text that has no bytes (half a surrogate pair).
    """
    try:
        return DOMAIN + text.encode("utf-8")
    except UnicodeEncodeError:
        raise OrderRefused("the order is not Unicode text") from None


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """
    An order's text with a signature.

    @ivar text: see L{toText}.
    @ivar key: the name by which whoever takes it in knows the key.
    @ivar signature: Ed25519 (RFC 8032), over L{signedBytes}.
    """

    text: str
    key: str
    signature: bytes

    def toJSON(self) -> dict[str, str]:
        """
        @return: the same as a JSON object: C{order} (the text, as a string), C{key}, C{signature} (base64).
        """
        return {
            "order": self.text,
            "key": self.key,
            "signature": b64encode(self.signature).decode("ascii"),
        }

    @classmethod
    def fromJSON(cls, values: object) -> SignedOrder:
        """
        @raise OrderRefused: when it is not such an object.
        """
        names = ("order", "key", "signature")
        if not isinstance(values, dict) or set(values) != set(names):
            raise OrderRefused("a signed order is an object with order, key and signature")
        for name in names:
            if not isinstance(values[name], str):
                raise OrderRefused(f"the {name} of a signed order is a string")
        try:
            signature = b64decode(values["signature"], validate=True)
        except (binascii.Error, ValueError):
            raise OrderRefused("the signature of a signed order is base64") from None
        return cls(values["order"], values["key"], signature)


def sign(order: Order, name: str, key: Ed25519PrivateKey) -> SignedOrder:
    """
    Signs an order.

    @param order: with C{node}, C{nonce} and C{expires}, without which nobody takes it.
    @param name: the name by which whoever takes it in knows the key.
    """
    text = toText(order)
    return SignedOrder(text, name, key.sign(signedBytes(text)))
