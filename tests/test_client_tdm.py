"""
L{sipgrace.client.tdm}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.client.tdm import ITDMRoute, SIPGateway
from sipgrace.errors import ConfigError
from sipgrace.message.message import Request
from sipgrace.proxy.target import Hop

INVITE = Request.make(
    b"INVITE",
    b"sip:+15551234@example.com;user=phone",
    (
        (b"Via", b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        (b"Max-Forwards", b"70"),
        (b"From", b"<sip:a@example.com>;tag=1"),
        (b"To", b"<sip:+15551234@example.com;user=phone>"),
        (b"Call-ID", b"1@example.com"),
        (b"CSeq", b"1 INVITE"),
    ),
)


class SIPGatewayTests(SynchronousTestCase):
    """
    The gateway that speaks SIP.
    """

    def test_interface(self) -> None:
        """
        It is a TDM route.
        """
        verifyObject(ITDMRoute, SIPGateway("sip:gw.example"))

    def test_hop(self) -> None:
        """
        Its address is the next hop; transport and port as RFC 3261 §19.1.2 fills them in.
        """
        for address, hop in (
            ("sip:gw.example:5070;transport=udp", Hop(b"UDP", "gw.example", 5070)),
            ("sip:gw.example;transport=tcp", Hop(b"TCP", "gw.example", 5060)),
            ("sip:192.0.2.9", Hop(b"UDP", "192.0.2.9", 5060)),
            ("sips:gw.example", Hop(b"TLS", "gw.example", 5061)),
            ("sip:[2001:db8::9]:5062;transport=sctp", Hop(b"SCTP", "2001:db8::9", 5062)),
        ):
            self.assertEqual(SIPGateway(address).target(INVITE, ()).hop, hop, address)

    def test_target(self) -> None:
        """
        The INVITE goes there as it is, and the target says whose it is.
        """
        gateway = SIPGateway("sip:gw.example", period=4.0)
        before = INVITE.toBytes()
        target = gateway.target(INVITE, ("102", "104"))
        self.assertEqual((target.association, target.uri, target.period), (None, None, 4.0))
        self.assertIs(target.token, gateway)
        self.assertEqual(INVITE.toBytes(), before)

    def test_description(self) -> None:
        """
        It is shown by its address.
        """
        self.assertEqual(SIPGateway("sip:gw.example").description, "SIP gateway sip:gw.example")

    def test_notAnAddress(self) -> None:
        """
        What is no SIP URI is refused when it is configured.
        """
        for address in ("gw.example", "", "tel:+1555", "sip:"):
            error = self.assertRaises(ConfigError, SIPGateway, address)
            self.assertIn("expected a SIP URI such as sip:gw.example:5060;transport=udp", str(error))
            self.assertIn(repr(address), str(error))
