"""
Numbers on the command line.
"""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Amount"]


class Amount(click.FloatRange):
    """
    A number within bounds; neither C{inf} nor C{nan}, which for click is within any.
    """

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """
        See C{click.ParamType}.
        """
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return number
