"""
The keys of the store at etcd.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from sipgrace.controller.facts import OrderRecord

__all__ = ["END_OF_TIME", "beyond", "keyOf", "named", "older", "placesOf", "timed"]

#: No time is later, in microseconds since the epoch: the year 33658.
END_OF_TIME: Final = 10**18


def timed(at: float) -> str:
    """
    @return: a time as it stands in keys: the later, the smaller.
    """
    return f"{END_OF_TIME - round(at * 1_000_000):019d}"


def named(text: str) -> str:
    """
    @return: a name as it stands in keys.
    """
    return quote(text, safe="")


def keyOf(prefix: str, *parts: str) -> str:
    """
    @param prefix: what all keys begin with.
    """
    return prefix + "/".join(parts)


def beyond(start: str) -> str:
    """
    @param start: a key's beginning, with its slash.
    @return: what comes after all keys that begin so.
    """
    return start[:-1] + "0"


def older(start: str, before: float) -> tuple[str, str]:
    """
    @param start: a key's beginning, with its slash; a time follows.
    @return: from where to where the keys of what is older stand. After the slash comes 0: all of that very
        time are left out.
    """
    return f"{start}{timed(before)}0", beyond(start)


def placesOf(prefix: str, record: OrderRecord) -> list[str]:
    """
    @return: the keys under which an order is to be found, whatever has become of it.
    """
    at, id = timed(record.at), named(record.id)
    return [
        keyOf(prefix, "order", id),
        keyOf(prefix, "orders", at, id),
        keyOf(prefix, "node", named(record.node), at, id),
    ]
