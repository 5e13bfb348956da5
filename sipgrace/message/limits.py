"""
How much of a message is taken in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds on one message, in bytes and counts; what passes one is refused with the status in brackets.

    @ivar message: start line, headers and body together (413).
    @ivar headers: header fields (400).
    @ivar line: the start line (414 for a request), or one header field with all its folds (400).
    """

    message: int = 65536
    headers: int = 100
    line: int = 8192


LIMITS: Final = Limits()
