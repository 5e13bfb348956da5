"""
The words of endpoint strings: C{sctp:}.
"""

from sipgrace.transport.sctp.parsers import SCTPClientParser, SCTPServerParser

sctpServer = SCTPServerParser()
sctpClient = SCTPClientParser()
