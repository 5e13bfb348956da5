"""
Records as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["encoded", "plain"]


def plain(record: Any) -> dict[str, Any]:
    """
    A record's members. Unlike C{dataclasses.asdict}, what is in them is not copied.
    """
    return {one.name: getattr(record, one.name) for one in fields(record)}


def encoded(value: Any) -> bytes:
    """
    JSON in UTF-8.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).encode("utf-8")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not fit for JSON")
