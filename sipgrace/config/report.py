"""
The section about reports, which both roles have.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sipgrace.config.sections import Section
from sipgrace.config.values import FilePath

__all__ = ["ReportSection"]


class ReportSection(Section):
    """
    A report of each drain, as JSON and as a page with the course of it as a plot. None is written unless this
    section is there.
    """

    dir: FilePath
    """The folder that they are written to; it exists."""

    keep: Annotated[int, Field(ge=1, le=100000)] = 100
    """How many are kept: the latest."""
