"""
What sipgrace brings to Twisted: its three roles for twist and twistd, and C{sctp:} for C{serverFromString}
and C{clientFromString}.
"""

from twisted.application.service import ServiceMaker

from sipgrace.transport.sctp.parsers import SCTPClientParser, SCTPServerParser

sipgraceServer = ServiceMaker(
    "sipgrace server",
    "sipgrace.tap.server",
    "A SIP server over SCTP that leaves without losing a call.",
    "sipgrace-server",
)

sipgraceClient = ServiceMaker(
    "sipgrace client",
    "sipgrace.tap.client",
    "A SIP client switch that spreads calls over sipgrace servers.",
    "sipgrace-client",
)

sipgraceController = ServiceMaker(
    "sipgrace controller",
    "sipgrace.tap.controller",
    "Watches sipgrace servers and clients, and gives them orders.",
    "sipgrace-controller",
)

sctpServer = SCTPServerParser()
sctpClient = SCTPClientParser()
