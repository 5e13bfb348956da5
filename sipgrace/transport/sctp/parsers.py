"""
The plugins that make C{sctp:} a word of C{serverFromString} and C{clientFromString}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from sipgrace.transport.sctp.endpoints import (
    SCTPClientEndpoint,
    SCTPServerEndpoint,
    clientFromArguments,
    serverFromArguments,
)

__all__ = ["SCTPClientParser", "SCTPServerParser"]


@implementer(IPlugin, IStreamServerEndpointStringParser)
class SCTPServerParser:
    """
    C{sctp:5060:interface=192.0.2.1}
    """

    prefix = "sctp"

    def parseStreamServer(self, reactor: Any, *args: object, **kwargs: object) -> SCTPServerEndpoint:
        return serverFromArguments(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class SCTPClientParser:
    """
    C{sctp:192.0.2.1:5060}
    """

    prefix = "sctp"

    def parseStreamClient(self, reactor: Any, *args: object, **kwargs: object) -> SCTPClientEndpoint:
        return clientFromArguments(reactor, *args, **kwargs)
