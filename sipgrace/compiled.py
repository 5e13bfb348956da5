"""
Whether what every message passes runs compiled, or interpreted: C{tools/building.py} compiles all of it, or
nothing.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

__all__ = ["COMPILED", "HOW"]


def _compiled(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


#: One of those modules stands for all; it is found, not imported.
COMPILED = _compiled("sipgrace.message.parser")

#: The same in a word.
HOW = "compiled" if COMPILED else "interpreted"
