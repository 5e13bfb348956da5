"""
Tests of the files in C{examples/}: they say what they seem to say, and they fit together.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.client import ClientConfig
from sipgrace.config.load import loadClient, loadServer, parseClient, parseServer
from sipgrace.config.server import ServerConfig
from sipgrace.message.uri import parseURI

EXAMPLES = Path(__file__).parent.parent / "examples"


def uncommented(text: str) -> str:
    """
    The file with the sections that it only shows.
    """
    at = text.find("# [manhole]")
    return text if at < 0 else text[:at] + re.sub(r"(?m)^# ?", "", text[at:])


class Examples(SynchronousTestCase):
    """
    Each file by itself.
    """

    def test_names(self) -> None:
        """
        A new example is not forgotten by the tests here.
        """
        self.assertEqual(
            sorted(path.name for path in EXAMPLES.iterdir() if path.suffix == ".toml"),
            [
                "client-110.toml",
                "client-112.toml",
                "client.toml",
                "controller.toml",
                "server-102.toml",
                "server-104.toml",
                "server.toml",
            ],
        )

    def test_server(self) -> None:
        config = loadServer(EXAMPLES / "server.toml")
        self.assertEqual([client.name for client in config.clients], ["berlin", "hamburg", "munich"])
        self.assertEqual([route.prefix for route in config.routes], [None, "+4930", "+4940", None, None])
        self.assertEqual((config.drain.guard, config.drain.retryAfter), (30.0, 90))

    def test_client(self) -> None:
        config = loadClient(EXAMPLES / "client.toml")
        self.assertEqual([server.cost for server in config.servers], [10, 50, 90])
        self.assertEqual(len(config.users), 3)
        assert config.registrar is not None
        self.assertEqual([account.user for account in config.registrar.accounts], ["carol", "bob"])

    def test_manhole(self) -> None:
        """
        The section that is only shown would be accepted, too.
        """
        server = parseServer(uncommented((EXAMPLES / "server.toml").read_text()), "server.toml")
        client = parseClient(uncommented((EXAMPLES / "client.toml").read_text()), "client.toml")
        assert server.manhole is not None and client.manhole is not None
        self.assertEqual(server.manhole.listen, "tcp:2222:interface=127.0.0.1")
        self.assertEqual(client.manhole.listen, "tcp:2223:interface=127.0.0.1")


class Network(SynchronousTestCase):
    """
    The small network on loopback.
    """

    def setUp(self) -> None:
        self.servers: list[ServerConfig] = [
            loadServer(EXAMPLES / f"server-{number}.toml") for number in (102, 104)
        ]
        self.clients: list[ClientConfig] = [
            loadClient(EXAMPLES / f"client-{number}.toml") for number in (110, 112)
        ]

    def test_names(self) -> None:
        self.assertEqual([config.server.name for config in self.servers], ["server-102", "server-104"])
        self.assertEqual([config.client.name for config in self.clients], ["client-110", "client-112"])

    def test_mesh(self) -> None:
        """
        Each client opens an association to each server, from an address by which the server knows it.
        """
        for client in self.clients:
            number = client.client.name[-3:]
            self.assertEqual(
                [(server.name, server.address) for server in client.servers],
                [
                    (
                        f"server-{server}",
                        f"sctp:host=127.0.0.{server}:port=5060:encaps=9899:bindAddress=127.0.0.{number}"
                        ":localEncaps=9899",
                    )
                    for server in (102, 104)
                ],
            )
        for server in self.servers:
            self.assertEqual(
                server.server.listen,
                (f"sctp:5060:interface=127.0.0.{server.server.name[-3:]}:encaps=9899",),
            )
            self.assertEqual(
                {client.name: [str(network) for network in client.networks] for client in server.clients},
                {"client-110": ["127.0.0.110/32"], "client-112": ["127.0.0.112/32"]},
            )

    def test_routes(self) -> None:
        """
        What a server routes to a client is a number of that client's users.
        """
        users = {client.client.name: [user.prefix for user in client.users] for client in self.clients}
        for server in self.servers:
            self.assertEqual(
                {route.to: [route.prefix] for route in server.routes},
                {(name,): prefixes for name, prefixes in users.items()},
            )
        self.assertEqual(
            [user.contact for client in self.clients for user in client.users],
            [parseURI(b"sip:127.0.0.1:7110"), parseURI(b"sip:127.0.0.1:7112")],
        )
