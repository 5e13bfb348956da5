"""
The sections that the files of both roles end with.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from sipgrace.config.links import NodeController, bearing
from sipgrace.config.metrics import MetricsSection
from sipgrace.config.orders import OrdersSection
from sipgrace.config.priority import PrioritySection
from sipgrace.config.report import ReportSection
from sipgrace.config.sections import ControlSection, Limits, ManholeSection, Many, Section, Timers
from sipgrace.config.values import mistakes, once

__all__ = ["RoleSections"]


class RoleSections(Section):
    """
    To be named first among the bases of a whole file, the role's own sections second: pydantic takes the
    bases from last to first, and so puts these after those.
    """

    orders: OrdersSection = OrdersSection()
    """Who may give orders, and where they are written down."""

    report: ReportSection | None = None
    """Where a report of each drain is written."""

    priority: PrioritySection = PrioritySection()
    """Which calls go before others, in a drain and elsewhere; none by default."""

    timers: Timers = Timers()
    """The timers of SIP transactions."""

    limits: Limits = Limits()
    """What peers may ask of this process."""

    control: ControlSection | None = None
    """A socket for the sipgrace command line."""

    manhole: ManholeSection | None = None
    """An SSH login for operators."""

    metrics: MetricsSection | None = None
    """What Prometheus is told."""

    controllers: Annotated[tuple[NodeController, ...], Many] = ()
    """The controllers it links itself to, one table each."""

    @field_validator("controllers", mode="after")
    @classmethod
    def _controllers(
        cls, controllers: tuple[NodeController, ...], info: ValidationInfo
    ) -> tuple[NodeController, ...]:
        mistakes(once([one.name for one in controllers], "controller"))
        # Where that section was wrong only this is reported.
        own = info.data.get("server") or info.data.get("client")
        if own is not None:
            mistakes(bearing(controllers, own.name))
        return controllers
