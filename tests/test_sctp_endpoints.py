"""
The C{sctp:} strings, and which stack they take.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp import endpoints, stack
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.arguments import BOUNDS
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, ISCTPStack, SCTPOptions
from sipgrace.transport.sctp.userspace import userspaceStack
from tests.sctppackets import MISSING


class RecordingStack:
    """
    Notes what it is asked.
    """

    name = "recording"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def listen(self, *args: Any) -> Any:
        self.calls.append(("listen", *args[1:]))
        return "port"

    def connect(self, *args: Any) -> Deferred[Any]:
        self.calls.append(("connect", *args[1:]))
        return succeed("protocol")


class Strings(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = RecordingStack()
        self.chosen: list[str] = []
        self.patch(endpoints, "_said", set())
        self.patch(endpoints, "choose", self.choose)
        self.factory = Factory.forProtocol(Protocol)

    def choose(self, name: str = "auto") -> tuple[Any, str]:
        self.chosen.append(name)
        return self.stack, "it was asked for"

    def listens(self, text: str) -> tuple[Any, ...]:
        endpoint = serverFromString(reactor, text)
        verifyObject(IStreamServerEndpoint, endpoint)
        self.assertEqual(self.successResultOf(endpoint.listen(self.factory)), "port")
        return self.stack.calls.pop()

    def connects(self, text: str) -> tuple[Any, ...]:
        endpoint = clientFromString(reactor, text)
        verifyObject(IStreamClientEndpoint, endpoint)
        self.assertEqual(self.successResultOf(endpoint.connect(self.factory)), "protocol")
        return self.stack.calls.pop()

    def test_server(self) -> None:
        """
        What each part of a server's string means.
        """
        self.assertEqual(
            self.listens("sctp:5060"),
            ("listen", 5060, ("0.0.0.0",), self.factory, DEFAULT_OPTIONS, None),
        )
        self.assertEqual(
            self.listens("sctp:port=0:interface=127.0.0.1,127.0.0.2:encaps=0:stack=userspace:heartbeat=0"),
            ("listen", 0, ("127.0.0.1", "127.0.0.2"), self.factory, SCTPOptions(heartbeat=0), 0),
        )
        self.assertEqual(
            self.listens("sctp:1:interface=\\:\\:1:stack=kernel"),
            ("listen", 1, ("::1",), self.factory, DEFAULT_OPTIONS, None),
        )

    def test_client(self) -> None:
        """
        What each part of a client's string means.
        """
        self.assertEqual(
            self.connects("sctp:192.0.2.1:5060"),
            ("connect", ("192.0.2.1",), 5060, self.factory, DEFAULT_OPTIONS, 5.0, (), 0, None, None, ""),
        )
        self.assertEqual(
            self.connects(
                "sctp:host=127.0.0.2:port=5060:encaps=9899:bindAddress=127.0.0.1:bindPort=7:localEncaps=0"
                ":stack=auto:timeout=0.5:nodelay=0:streams=2"
            ),
            (
                "connect",
                ("127.0.0.2",),
                5060,
                self.factory,
                SCTPOptions(nodelay=False, streams=2),
                0.5,
                ("127.0.0.1",),
                7,
                9899,
                0,
                "",
            ),
        )
        self.assertEqual(
            self.connects("sctp:192.0.2.1,192.0.2.2:5060:primary=192.0.2.2")[2:],
            (5060, self.factory, DEFAULT_OPTIONS, 5.0, (), 0, None, None, "192.0.2.2"),
        )

    def test_everyOption(self) -> None:
        """
        Every field of the options can be set, and has bounds.
        """
        self.assertEqual(set(BOUNDS), set(SCTPOptions.__dataclass_fields__))
        for name, (least, greatest) in BOUNDS.items():
            default = getattr(DEFAULT_OPTIONS, name)
            self.assertTrue(least <= default <= greatest, name)
            for bad in (least - 1, greatest + 1, "x", "", "1.5"):
                self.refuses(serverFromString, f"sctp:1:{name}={bad}", f"{name}={bad}")

    def refuses(self, parse: Any, text: str, *parts: str) -> None:
        error = self.assertRaises(ConfigError, parse, reactor, text)
        for part in parts:
            self.assertIn(part, str(error))

    def test_badServers(self) -> None:
        """
        A bad part is named, with what was expected.
        """
        for text, *parts in (
            ("sctp:", "port=", "0 to 65535"),
            ("sctp:interface=127.0.0.1", "port is missing"),
            ("sctp:sip", "port=sip", "0 to 65535"),
            ("sctp:65536", "port=65536"),
            ("sctp:-1", "port=-1"),
            ("sctp:1:2", "'2' has no name"),
            ("sctp:1:port=2", "port is given twice"),
            ("sctp:1:interface=localhost", "'localhost' is not an IP address"),
            ("sctp:1:interface=127.0.0.1,", "'' is not an IP address"),
            ("sctp:1:encaps=70000", "encaps=70000"),
            ("sctp:1:stack=linux", "stack=linux", "auto, userspace, kernel"),
            ("sctp:1:colour=red:shape=round", "unknown colour, shape; expected some of encaps, "),
            ("sctp:1:stack=", "stack="),
            ("sctp:1:rtoMin=2000", "rtoMin <= rtoInitial <= rtoMax"),
        ):
            self.refuses(serverFromString, text, "sctp server", *parts)

    def test_namedAsParameters(self) -> None:
        """
        A word that is also a parameter's name is as unknown as any.
        """
        given = {"port": "1", "reactor": "2"}
        self.assertRaises(ConfigError, endpoints.serverFromArguments, reactor, **given)
        self.assertRaises(ConfigError, endpoints.clientFromArguments, reactor, host="127.0.0.1", **given)

    def test_badClients(self) -> None:
        """
        The same of clients.
        """
        for text, *parts in (
            ("sctp:127.0.0.1", "host and port are needed"),
            ("sctp::5060", "host and port are needed"),
            ("sctp:127.0.0.1:0", "port=0", "1 to 65535"),
            ("sctp:127.0.0.1:5060:9", "'9' has no name"),
            ("sctp:127.0.0.1:5060:encaps=0", "encaps=0"),
            ("sctp:127.0.0.1:5060:timeout=0", "timeout=0", "seconds"),
            ("sctp:127.0.0.1:5060:timeout=nan", "timeout=nan"),
            ("sctp:127.0.0.1:5060:timeout=soon", "timeout=soon"),
            ("sctp:127.0.0.1:5060:bindAddress=here", "bindAddress=here"),
            ("sctp:127.0.0.1:5060:localEncaps=x", "localEncaps=x"),
            ("sctp:127.0.0.1:5060:primary=there", "primary=there", "an IP address"),
            ("sctp:127.0.0.1:5060:interface=127.0.0.1", "unknown interface; expected some of bindAddress, "),
        ):
            self.refuses(clientFromString, text, "sctp client", *parts)

    def test_encapsulationMeansUserspace(self) -> None:
        """
        C{auto} takes userspace where a UDP port is asked for. The kernel refuses one of our own, and takes
        that of a peer.
        """
        self.listens("sctp:1")
        self.listens("sctp:1:encaps=9899")
        self.connects("sctp:127.0.0.1:1:localEncaps=0")
        self.connects("sctp:127.0.0.1:1:encaps=9899")
        self.assertEqual(self.connects("sctp:127.0.0.1:1:encaps=1:stack=kernel")[-3:], (1, None, ""))
        self.assertEqual(self.chosen, ["auto", "userspace", "userspace", "userspace", "kernel"])
        client = "sctp:127.0.0.1:1:encaps=1:localEncaps=1:stack=kernel"
        for endpoint in (
            serverFromString(reactor, "sctp:1:encaps=9899:stack=kernel").listen(self.factory),
            clientFromString(reactor, client).connect(self.factory),
        ):
            error = self.failureResultOf(endpoint, ConfigError)
            self.assertIn("net.sctp.udp_port", str(error.value))

    def test_resolves(self) -> None:
        """
        A name is looked up, and its first address taken.
        """

        class Resolver:
            found = ["192.0.2.7", "192.0.2.8"]

            def resolveHostName(self, receiver: Any, name: str) -> None:
                receiver.resolutionBegan(None)
                for host in self.found:
                    receiver.addressResolved(IPv4Address("TCP", host, 0))
                receiver.resolutionComplete()

        class Reactor:
            nameResolver = Resolver()

        endpoint = endpoints.clientFromArguments(Reactor(), "sip.example", "5060")
        self.successResultOf(endpoint.connect(self.factory))
        self.assertEqual(self.stack.calls.pop()[1], ("192.0.2.7",))
        Resolver.found = []
        failure = self.failureResultOf(endpoint.connect(self.factory), DNSLookupError)
        self.assertIn("sip.example", str(failure.value))


class Choice(SynchronousTestCase):
    """
    Which stack is taken, and why.
    """

    skip = MISSING

    def kernel(self, speaks: bool) -> None:
        def make(*args: Any) -> Any:
            if not speaks:
                raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
            return Closing()

        class Closing:
            def __enter__(self) -> None:
                pass

            def __exit__(self, *args: Any) -> None:
                pass

        self.patch(stack.socket, "socket", make)

    def test_words(self) -> None:
        """
        Another word is an error that names those there are.
        """
        error = self.assertRaises(ConfigError, stack.choose, "linux")
        self.assertEqual(str(error), "stack='linux': expected auto, kernel or userspace")

    def test_withoutKernel(self) -> None:
        """
        C{auto} takes userspace where the kernel speaks no SCTP; C{kernel} says what to do.
        """
        self.kernel(False)
        found, why = stack.choose("auto")
        self.assertIs(found, userspaceStack())
        self.assertEqual(
            why,
            "this kernel does not speak SCTP; it goes inside UDP, where peers that use their kernels' are "
            "not met ('modprobe sctp' for that)",
        )
        self.assertEqual(stack.choose("userspace"), (userspaceStack(), "userspace was asked for"))
        error = self.assertRaises(ConfigError, stack.choose, "kernel")
        self.assertIn("modprobe sctp", str(error))

    def test_withKernel(self) -> None:
        """
        C{auto} takes the kernel's where it is there.
        """
        self.kernel(True)
        for name, why in (("auto", "this kernel speaks SCTP"), ("kernel", "kernel was asked for")):
            found, said = stack.choose(name)
            self.assertEqual((found.name, said), ("kernel", why))
            verifyObject(ISCTPStack, found)
        verifyObject(ISCTPStack, userspaceStack())

    def test_address(self) -> None:
        """
        An address says where it is.
        """
        self.assertEqual(str(SCTPAddress("192.0.2.1", 5060)), "192.0.2.1:5060")
        self.assertEqual(str(SCTPAddress("2001:db8::1", 5060, 9899)), "[2001:db8::1]:5060 over UDP 9899")
        self.assertEqual(SCTPAddress("192.0.2.1", 1).hosts, ("192.0.2.1",))
