"""
The section about calls that go before others.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from sipgrace.config.sections import Many, Section

__all__ = ["PrioritySection", "Resource"]

# RFC 4412 §3.1: token-nodot ["." token-nodot], here with the second part left out for all of them.
_TOKEN = r"[A-Za-z0-9\-!%*_+`'~]+"
_RESOURCE: Final = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})?\Z")


def _resource(value: str) -> str:
    if not _RESOURCE.match(value):
        raise ValueError(
            f"expected a namespace such as 'esnet', or one of its values such as 'wps.0', found {value!r}"
        )
    return value


Resource = Annotated[str, AfterValidator(_resource)]
"""A namespace of Resource-Priority, or one value."""


class PrioritySection(Section):
    """
    Which calls go before others. A drain lets new ones of them in until its guard leaves them no time, a
    gradual drain refuses none of them, and a tenth more than max_accepted is there for them. Clients keep
    none of them from a server that asks for a smaller share of the calls (RFC 7339), and send them to one
    that is leaving when no server in service takes them. Nobody checks whether a call may say this of itself:
    see to it that only those can who may.
    """

    resources: Annotated[tuple[Resource, ...], Many] = ()
    """The values of Resource-Priority (RFC 4412): a namespace alone, such as "esnet", for all of its
    priorities, or one value, such as "wps.0"."""

    emergency: bool = False
    """Whether emergency calls are among them: those to urn:service:sos and its sub-services, such as
    urn:service:sos.fire (RFC 5031)."""
