"""
What a node says of itself, looked at before it is believed.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from sipgrace.controller.facts import Hello

__all__ = ["helloFrom", "isCapacity"]

#: The longest name, value of a label, or version; in characters.
_LONGEST: Final = 100
_LABELS: Final = 32
_ROLES: Final = ("server", "client")


def helloFrom(facts: Any) -> Hello:
    """
    @param facts: as L{sipgrace.control.commands.Hello} has it. What is not known here is left out: it may be
        of a later version.
    @raise ValueError: for what is no such thing; says what.
    """
    if not isinstance(facts, dict):
        raise ValueError("it is no object")
    texts = {key: _text(key, facts.get(key)) for key in ("name", "role", "version", "boot", "group")}
    for key in ("name", "version", "boot"):
        if not texts[key]:
            raise ValueError(f"its {key} is empty")
    if texts["role"] not in _ROLES:
        raise ValueError(f"its role is {texts['role']!r}; server or client is expected")
    number, labels = facts.get("number"), facts.get("labels", {})
    if type(number) is not int or not 0 <= number < 1 << 53:
        raise ValueError("its number is no whole number from 0 up")
    if not isinstance(labels, dict) or len(labels) > _LABELS:
        raise ValueError(f"its labels are no object of {_LABELS} at most")
    for key, value in labels.items():
        _text("label", key)
        _text("label", value)
    if not isCapacity(labels.get("capacity", "1")):
        raise ValueError("its label capacity is no finite number from 0 up")
    return Hello(number=number, labels=labels, **texts)


def isCapacity(value: str) -> bool:
    """
    Whether it can be summed up by a budget.
    """
    try:
        return 0 <= float(value) < inf
    except ValueError:
        return False


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"its {key} is no line of at most {_LONGEST} characters")
    return value
