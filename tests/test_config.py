"""
Tests of L{sipgrace.config}: what a file may say, and how every mistake in it is reported.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from textwrap import dedent

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import loadServer, parseClient, parseServer
from sipgrace.errors import ConfigError
from sipgrace.message.uri import parseURI

SERVER = """
[server]
name = "s"
listen = ["udp:5060:interface=127.0.0.1"]
"""

CLIENT = """
[client]
name = "c"
listen = ["udp:5060:interface=127.0.0.1"]
[[servers]]
name = "s"
address = "sctp:host=127.0.0.1:port=5060"
"""


class Wrong(SynchronousTestCase):
    """
    Files with mistakes.
    """

    def serverErrors(self, text: str) -> list[str]:
        """
        What is reported of a server's file, the file's name taken off.
        """
        error = self.assertRaises(ConfigError, parseServer, dedent(text), "s.toml")
        return self.stripped(error)

    def clientErrors(self, text: str) -> list[str]:
        """
        What is reported of a client's file, the file's name taken off.
        """
        error = self.assertRaises(ConfigError, parseClient, dedent(text), "s.toml")
        return self.stripped(error)

    def stripped(self, error: ConfigError) -> list[str]:
        lines = str(error).splitlines()
        for line in lines:
            self.assertTrue(line.startswith("s.toml: "), line)
        return [line.removeprefix("s.toml: ") for line in lines]

    def test_noFile(self) -> None:
        path = self.mktemp()
        error = self.assertRaises(ConfigError, loadServer, path)
        self.assertEqual(str(error), f"{path}: cannot be read: No such file or directory")

    def test_notUTF8(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b'name = "\xff"')
        error = self.assertRaises(ConfigError, loadServer, path)
        self.assertEqual(str(error), f"{path}: expected UTF-8, found another byte at offset 8")

    def test_byteOrderMark(self) -> None:
        """
        As some editors write it.
        """
        path = Path(self.mktemp())
        path.write_text(SERVER, encoding="utf-8-sig")
        self.assertEqual(loadServer(path).server.name, "s")

    def test_notTOML(self) -> None:
        self.assertEqual(
            self.serverErrors("[server]\nname = s"),
            ["expected TOML: Invalid value (at line 2, column 8)"],
        )

    def test_empty(self) -> None:
        self.assertEqual(self.serverErrors(""), ["server: expected this key, found none"])
        self.assertEqual(
            self.clientErrors(""),
            ["client: expected this key, found none", "servers: expected this key, found none"],
        )

    def test_unknownKeys(self) -> None:
        """
        The known keys of the very section are named, and the one that was probably meant.
        """
        self.assertEqual(
            self.serverErrors(SERVER + "recordroute = true\n[drains]\n[[routes]]\nregex = 1"),
            [
                "routes[1]: expected exactly one of uri, prefix and domain, found none",
                "routes[1]: expected exactly one of to and redirect, found none",
                "server.recordroute: expected one of the keys name, listen, advertise, stack, mode, "
                "record_route, scope, max_dialogs, longest_dialog, await_clients, max_accepted, rejects, "
                "workers, labels, "
                "group, found an unknown one; did you mean record_route?",
                "routes[1].regex: expected one of the keys uri, prefix, domain, to, redirect, found an "
                "unknown one",
                "drains: expected one of the keys server, clients, routes, reject, access, drain, overload, "
                "schedule, orders, report, priority, timers, limits, control, manhole, metrics, controllers, "
                "found an unknown one; did you mean drain?",
            ],
        )
        self.assertEqual(
            self.serverErrors(SERVER + "[[reject]]\ndestination.user = 'x'"),
            [
                "reject[1].destination: expected exactly one of network, client, domain and prefix, found "
                "none",
                "reject[1].destination.user: expected one of the keys network, client, domain, prefix, found "
                "an unknown one"
            ],
        )

    def test_attributesAreNoKeys(self) -> None:
        """
        The names by which the program knows keys are not taken for keys.
        """
        (line,) = self.serverErrors(SERVER + "maxAccepted = 3")
        self.assertIn("found an unknown one; did you mean max_accepted?", line)

    def test_types(self) -> None:
        """
        Nothing is converted in silence.
        """
        self.assertEqual(
            self.serverErrors(
                """
                access = 3
                clients = {}
                [server]
                name = 7
                listen = "udp:5060"
                record_route = "yes"
                max_accepted = 2.0
                mode = "Proxy"
                [drain]
                guard = "30"
                spread = true
                margin = nan
                """
            ),
            [
                "server.name: expected a string, found 7",
                "server.listen: expected an array, found 'udp:5060'",
                "server.mode: expected 'proxy' or 'redirect', found 'Proxy'",
                "server.record_route: expected true or false, found 'yes'",
                "server.max_accepted: expected a whole number, found 2.0",
                "clients: expected an array, found a table",
                "access: expected a table, found 3",
                "drain.guard: expected a number of seconds from 0.5 to 86400, or 'auto', found '30'",
                "drain.margin: expected a finite number, found nan",
                "drain.spread: expected a whole number, found true",
            ],
        )

    def test_scope(self) -> None:
        """
        Calls can be known by a server in their path alone.
        """
        complaint = [
            'server.scope: expected "setups" without record_route (and in redirect mode), found "dialogs"'
        ]
        for head in ("", 'record_route = true\nmode = "redirect"\n'):
            self.assertEqual(self.serverErrors(SERVER + head + 'scope = "dialogs"'), complaint)
        config = parseServer(SERVER + 'record_route = true\nscope = "dialogs"', "s.toml")
        self.assertEqual(config.server.scope, "dialogs")

    def test_bounds(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                max_accepted = 0
                [drain]
                guard = 0
                [timers]
                t1 = 20
                timer_c = 0.5
                [limits]
                message = 100
                line = 100000
                [[reject]]
                origin.domain = "*"
                status = 200
                reason = ""
                """
            ),
            [
                "server.max_accepted: expected at least 1, found 0",
                "reject[1].status: expected at least 400, found 200",
                "reject[1].reason: expected 1 to 200 printable ASCII characters, found ''",
                "drain.guard: expected a number of seconds from 0.5 to 86400, or 'auto', found 0",
                "timers.t1: expected at most 10, found 20",
                "timers.timer_c: expected at least 1, found 0.5",
                "limits.message: expected at least 1024, found 100",
                "limits.line: expected at most 65536, found 100000",
            ],
        )

    def test_retryAfterBelowGuard(self) -> None:
        """
        Clients would come back to a server that is not yet gone.
        """
        self.assertEqual(
            self.serverErrors(SERVER + "[drain]\nguard = 30\nretry_after = 29"),
            ["drain.retry_after: expected at least the guard, which is 30 seconds, found 29"],
        )
        self.assertEqual(
            self.serverErrors(SERVER + "[drain]\nretry_after = 20"),
            ["drain.retry_after: expected at least the guard, which is 30 seconds, found 20"],
        )
        self.assertEqual(
            self.serverErrors(SERVER + "[drain]\nretry_after_period = -1"),
            ["drain.retry_after_period: expected at least 0, found -1"],
        )

    def test_drain(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER + "[drain]\nguard = 10\nretry_after = 10\nretry_after_period = 3\nmargin = 6"
            ),
            [
                "drain.retry_after_period: expected it or retry_after, not both, found both in this section",
                "drain.margin: expected at most half the guard, which is 10 seconds, found 6",
            ],
        )

    def test_names(self) -> None:
        text = SERVER.replace('"s"', '"-"') + '[[clients]]\nname = ""\nnetworks = ["::1"]'
        expected = "expected a name (a letter, then letters, digits, '_', '.', '-'; 63 at most), found "
        self.assertEqual(
            self.serverErrors(text), [f"server.name: {expected}'-'", f"clients[1].name: {expected}''"]
        )

    def test_clients(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [[clients]]
                name = "a"
                networks = ["10.0.0.1/8", "x"]
                address = "tel:+49"
                open = "udp:host=a:port=1"
                [[clients]]
                name = "b"
                """
            ),
            [
                "clients[1].networks[1]: expected a network such as '192.0.2.0/24' or '2001:db8::1', found "
                "'10.0.0.1/8' (10.0.0.1/8 has host bits set)",
                "clients[1].networks[2]: expected a network such as '192.0.2.0/24' or '2001:db8::1', found "
                "'x' ('x' does not appear to be an IPv4 or IPv6 network)",
                "clients[1].address: expected a SIP URI such as 'sip:192.0.2.1:5060;transport=tcp', found "
                "'tel:+49'",
                "clients[1].open: 'udp:host=a:port=1': expected sctp, tcp or tls, for UDP has nothing to "
                "open",
                "clients[2].networks: expected at least one network (or open), found nothing to know this "
                "client by",
            ],
        )

    def test_sameClientTwice(self) -> None:
        client = '[[clients]]\nname = "a"\nnetworks = ["10.0.0.0/8"]\n'
        self.assertEqual(
            self.serverErrors(SERVER + client * 2),
            ["clients[2].name: expected a name that no other client has, found 'a' again"],
        )

    def test_sameNetworkTwice(self) -> None:
        """
        Of two clients with the same network one would never be known; networks within others are all right.
        """
        client = '[[clients]]\nname = "{}"\nnetworks = {}\n'.format
        first = client("a", '["10.0.0.0/8", "10.0.0.0/8"]')
        inside = parseServer(SERVER + first + client("b", '["10.1.0.0/16"]'), "s.toml")
        self.assertEqual([one.name for one in inside.clients], ["a", "b"])
        self.assertEqual(
            self.serverErrors(SERVER + first + client("b", '["10.1.0.0/16", "10.0.0.0/8"]')),
            [
                "clients[2].networks[2]: expected a network that is no other client's, found 10.0.0.0/8, "
                "which is a's already"
            ],
        )

    def test_unknownClients(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [[clients]]
                name = "a"
                networks = ["10.0.0.0/8"]
                [[routes]]
                domain = "x.example"
                to = ["a", "b", "sip:c@d"]
                [[reject]]
                origin.client = "a"
                destination.client = "c"
                [access]
                allow = ["10.0.0.0/8", "a", "d"]
                deny = ["e"]
                """
            ),
            [
                "routes[1].to[2]: expected the name of one of [[clients]], found 'b'",
                "reject[1].destination.client: expected the name of one of [[clients]], found 'c'",
                "access.allow[3]: expected the name of one of [[clients]], found 'd'",
                "access.deny[1]: expected the name of one of [[clients]], found 'e'",
            ],
        )

    def test_routes(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [[routes]]
                to = ["sip:a@b"]
                redirect = "sip:a@b"
                [[routes]]
                domain = "a.example"
                prefix = "1"
                [[routes]]
                domain = "a..example"
                to = []
                [[routes]]
                prefix = "a b"
                redirect = "sip:"
                """
            ),
            [
                "routes[1]: expected exactly one of uri, prefix and domain, found none",
                "routes[1]: expected exactly one of to and redirect, found to and redirect",
                "routes[2]: expected exactly one of uri, prefix and domain, found prefix and domain",
                "routes[2]: expected exactly one of to and redirect, found none",
                "routes[3].domain: expected a domain such as 'example.org', an address, or '*' for every "
                "domain, found 'a..example'",
                "routes[3].to: expected at least 1 entry, found 0 entries",
                "routes[4].prefix: expected the first characters of the user part of a SIP URI, such as "
                "'+4930', found 'a b'",
                "routes[4].redirect: expected a SIP URI such as 'sip:192.0.2.1:5060;transport=tcp', found "
                "'sip:' (Malformed URI)",
            ],
        )

    def test_sameRouteTwice(self) -> None:
        route = '[[routes]]\n{} = "{}"\nto = ["sip:a@b"]\n'
        text = "".join(
            route.format(key, value)
            for key, value in [
                ("domain", "A.example"),
                ("domain", "a.example"),
                ("prefix", "1"),
                ("prefix", "2"),
                ("prefix", "1"),
            ]
        )
        self.assertEqual(
            self.serverErrors(SERVER + text),
            [
                "routes[2].domain: expected one route for a.example, found another before it",
                "routes[5].prefix: expected one route for 1, found another before it",
            ],
        )

    def test_reject(self) -> None:
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [[reject]]
                [[reject]]
                origin = {}
                destination = {network = "10.0.0.0/8", prefix = "1"}
                """
            ),
            [
                "reject[1]: expected an origin, a destination or both, found neither",
                "reject[2].origin: expected exactly one of network, client, domain and prefix, found none",
                "reject[2].destination: expected exactly one of network, client, domain and prefix, found "
                "network and prefix",
            ],
        )

    def test_listen(self) -> None:
        """
        The transport's own words are passed on.
        """
        self.assertEqual(
            self.serverErrors(
                """
                [server]
                name = "s"
                listen = [
                    "udp:x:interface=127.0.0.1",
                    "http:80",
                    "tcp:5060:interface=127.0.0.1:certKey=a",
                    "sctp:5060:interface=127.0.0.1:encaps=70000",
                    "tls:5061:interface=127.0.0.1:privateKey=/none",
                    "tcp:5060:interface=127.0.0.1:backlog=0",
                ]
                """
            ),
            [
                "server.listen[1]: 'udp:x:interface=127.0.0.1': expected port from 0 to 65535, not 'x'",
                "server.listen[2]: 'http:80': expected udp, tcp, tls, sctp before the first colon",
                "server.listen[3]: 'tcp:5060:interface=127.0.0.1:certKey=a': unknown argument 'certKey'; "
                "expected some of backlog, interface, port",
                "server.listen[4]: sctp server encaps=70000: expected a number from 0 to 65535",
                "server.listen[5]: privateKey: cannot read '/none': No such file or directory",
                "server.listen[6]: 'tcp:5060:interface=127.0.0.1:backlog=0': expected backlog from 1 to "
                "65535, not '0'",
            ],
        )
        self.assertEqual(
            self.serverErrors('[server]\nname = "s"\nlisten = []'),
            ["server.listen: expected at least 1 entry, found 0 entries"],
        )

    def test_everywhere(self) -> None:
        """
        Nobody can be told to answer to 0.0.0.0.
        """
        listen = '[server]\nname = "s"\nlisten = ["udp:5060", "sctp:5060:interface=0.0.0.0,::1"]\n'
        listen = listen.replace("::", "\\\\:\\\\:")
        expected = "expected interface=ADDRESS, or advertise to tell peers of, found neither in "
        self.assertEqual(
            self.serverErrors(listen),
            [
                f"server.listen[1]: {expected}'udp:5060'",
                f"server.listen[2]: {expected}'sctp:5060:interface=0.0.0.0,\\\\:\\\\:1'",
            ],
        )
        config = parseServer(listen + 'advertise = "sip.example.org"', "s.toml")
        self.assertEqual(config.server.advertise, "sip.example.org")
        self.assertEqual(
            self.serverErrors(listen + 'advertise = "sip:example.org"'),
            [
                "server.advertise: expected host or host:port, found 'sip:example.org' (expected a port from "
                "1 to 65535 after the colon of 'sip:example.org')"
            ],
        )

    def test_stacks(self) -> None:
        """
        What a chosen SCTP stack cannot do is found before it is asked to.
        """
        self.assertEqual(
            self.serverErrors(
                """
                [server]
                name = "s"
                stack = "userspace"
                listen = ["sctp:5060:interface=127.0.0.1,127.0.0.2", "sctp:5060:interface=127.0.0.3"]
                """
            ),
            [
                "server.listen[1]: expected one interface with the userspace stack, found "
                "'sctp:5060:interface=127.0.0.1,127.0.0.2'",
                "server.listen[2]: expected each SCTP port once, as the userspace stack wants it, found 5060 "
                "again",
            ],
        )
        kernel = '[server]\nname = "s"\nstack = "kernel"\nlisten = [{}]'
        self.assertEqual(
            self.serverErrors(kernel.format('"sctp:5060:interface=127.0.0.1:encaps=9899"')),
            [
                "server.listen[1]: expected no encaps with the kernel's stack (sysctl net.sctp.udp_port), "
                "found 'sctp:5060:interface=127.0.0.1:encaps=9899'"
            ],
        )
        two = '"sctp:5060:interface=127.0.0.1,127.0.0.2", "sctp:5060:interface=127.0.0.3"'
        self.assertEqual(parseServer(kernel.format(two), "s.toml").server.stack, "kernel")

    def test_timersOrdered(self) -> None:
        self.assertEqual(
            self.serverErrors(SERVER + "[timers]\nt1 = 5"),
            ["timers.t2: expected at least t1, which is 5, found 4"],
        )

    def test_manhole(self) -> None:
        manhole = SERVER + '[manhole]\nauthorized_keys = "a"\nhost_key = "h"\nlisten = "{}"\n'
        loopback = (
            "manhole.listen: expected a loopback interface such as 'tcp:2222:interface=127.0.0.1' (or "
            "anywhere = true), found "
        )
        for listen in ("tcp:2222", "tcp:2222:interface=192.0.2.1"):
            self.assertEqual(self.serverErrors(manhole.format(listen)), [f"{loopback}'{listen}'"])
        self.assertEqual(
            self.serverErrors(manhole.format("udp:2222:interface=127.0.0.1")),
            ["manhole.listen: expected a tcp string, found 'udp:2222:interface=127.0.0.1'"],
        )
        open = parseServer(manhole.format("tcp:2222") + "anywhere = true", "s.toml").manhole
        assert open is not None
        self.assertEqual(open.listen, "tcp:2222")
        self.assertEqual(
            self.serverErrors(SERVER + "[manhole]"),
            [
                "manhole.authorized_keys: expected this key, found none",
                "manhole.host_key: expected this key, found none",
            ],
        )

    def test_client(self) -> None:
        self.assertEqual(
            self.clientErrors(
                """
                [client]
                name = "c"
                listen = ["udp:5060:interface=127.0.0.1"]
                strategy = "at random"
                response_period = 0
                [[servers]]
                name = "s"
                address = "sctp:127.0.0.1"
                cost = -1
                [[servers]]
                name = "s"
                address = "tcp:host=127.0.0.1:port=0"
                [[users]]
                uri = "sip:a@b"
                prefix = "1"
                contact = "sip:c"
                [[users]]
                aor = "sip:a@b"
                [tdm]
                [probe]
                interval = 5
                longest = 4
                [reconnect]
                interval = 50
                longest = 100000
                """
            ),
            [
                "client.strategy: expected a name (a letter, then letters, digits, '_', '.', '-'; 63 at most)"
                ", found 'at random'",
                "client.response_period: expected at least 0.05, found 0",
                "servers[1].address: sctp client: host and port are needed, as in sctp:192.0.2.1:5060",
                "servers[1].cost: expected at least 0, found -1",
                "servers[2].address: 'tcp:host=127.0.0.1:port=0': expected port from 1 to 65535, not '0'",
                "users[1]: expected exactly one of uri, aor and prefix, found uri and prefix",
                "users[2].contact: expected this key, found none",
                "tdm: expected exactly one of gateway and command, found none",
                "probe.longest: expected at least interval, which is 5, found 4",
                "reconnect.longest: expected at most 86400, found 100000",
            ],
        )

    def test_domains(self) -> None:
        """
        Servers that are to be looked up, and whom to ask.
        """
        self.assertEqual(
            self.clientErrors(
                """
                [client]
                name = "c"
                listen = ["udp:5060:interface=127.0.0.1"]
                [[servers]]
                name = "a"
                address = "sip:example.org;transport=udp"
                [[servers]]
                name = "b"
                address = "sip:somebody@example.org"
                [[servers]]
                name = "c"
                address = "sip:example.org;transport=TCP"
                options = "colour=green"
                [[servers]]
                name = "d"
                address = "tcp:host=127.0.0.1:port=5060"
                options = "timeout=5"
                [[servers]]
                name = "e"
                address = "sips:example.org"
                options = "bindPort=7"
                [dns]
                servers = ["ns.example.org", "192.0.2.1:port"]
                shortest = 0
                """
            ),
            [
                "servers[1].address: expected a domain to look up, as in 'sip:example.org' or "
                "'sip:example.org;transport=sctp' (or tcp, tls), found 'sip:example.org;transport=udp'",
                "servers[2].address: expected a domain to look up, as in 'sip:example.org' or "
                "'sip:example.org;transport=sctp' (or tcp, tls), found 'sip:somebody@example.org'",
                "servers[3].options: 'tcp:host=192.0.2.1:port=5060:colour=green': unknown argument 'colour'; "
                "expected some of bindAddress, host, port, timeout",
                "servers[4].options: expected them within address, which is not looked up",
                "servers[5].options: 'tls:host=192.0.2.1:port=5060:bindPort=7': unknown argument 'bindPort'; "
                "expected some of bindAddress, caCerts, certKey, host, name, port, privateKey, timeout",
                "dns.servers[1]: expected an IP address, with or without a port, found 'ns.example.org'",
                "dns.servers[2]: expected an address or address:port, found '192.0.2.1:port' "
                "(expected a port from 1 to 65535 after the colon of '192.0.2.1:port')",
                "dns.shortest: expected at least 0.05, found 0",
            ],
        )

    def test_clientTogether(self) -> None:
        """
        What can be seen only when each part by itself is right.
        """
        text = CLIENT + CLIENT[CLIENT.index("[[servers]]") :] + "[reconnect]\ninterval = 31"
        text = text.replace("listen =", 'listen_network = ["tcp:5060"]\nlisten =')
        self.assertEqual(
            self.clientErrors(text),
            [
                "client.listen_network[1]: expected interface=ADDRESS, or advertise to tell peers of, found "
                "neither in 'tcp:5060'",
                "servers[2].name: expected a name that no other server has, found 's' again",
                "reconnect.longest: expected at least interval, which is 31, found 30",
            ],
        )


    def test_priority(self) -> None:
        """
        Namespaces and values as RFC 4412 §3.1 has them; services as RFC 5031 §3.
        """
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [priority]
                resources = ["esnet", "wps.0", "", "a.b.c", "no blank"]
                emergency = 1
                [[routes]]
                uri = "urn:service:SOS.Fire"
                to = ["sip:h"]
                [[routes]]
                uri = "urn:service:sos.fire"
                to = ["sip:h"]
                [[routes]]
                uri = "urn:service:sos."
                to = ["sip:h"]
                """
            ),
            [
                "routes[3].uri: expected the name of a service such as 'urn:service:sos', found "
                "'urn:service:sos.'",
                *(
                    f"priority.resources[{at}]: expected a namespace such as 'esnet', or one of its values "
                    f"such as 'wps.0', found {value!r}"
                    for at, value in ((3, ""), (4, "a.b.c"), (5, "no blank"))
                ),
                "priority.emergency: expected true or false, found 1",
            ],
        )
        self.assertEqual(
            self.serverErrors(
                SERVER
                + """
                [[routes]]
                uri = "urn:service:SOS.Fire"
                to = ["sip:h"]
                [[routes]]
                uri = "urn:service:sos.fire"
                to = ["sip:h"]
                """
            ),
            ["routes[2].uri: expected one route for urn:service:sos.fire, found another before it"],
        )


class Right(SynchronousTestCase):
    """
    Files without mistakes.
    """

    def test_defaults(self) -> None:
        """
        The least that a server's file can say, and what it means.
        """
        config = parseServer(SERVER, "s.toml")
        self.assertEqual(
            config.model_dump(exclude={"orders", "report", "overload", "schedule"}),
            {
                "server": {
                    "name": "s",
                    "listen": ("udp:5060:interface=127.0.0.1",),
                    "advertise": None,
                    "stack": "auto",
                    "mode": "proxy",
                    "recordRoute": False,
                    "scope": "setups",
                    "maxDialogs": 100000,
                    "longestDialog": 86400.0,
                    "awaitClients": 60.0,
                    "maxAccepted": 10000,
                    "rejects": None,
                    "workers": 1,
                    "labels": {},
                    "group": None,
                },
                "clients": (),
                "routes": (),
                "reject": (),
                "access": {"allow": None, "deny": ()},
                "drain": {
                    "guard": 30.0,
                    "guardFloor": 5.0,
                    "guardCeiling": 180.0,
                    "margin": None,
                    "retryAfter": None,
                    "retryAfterPeriod": 30.0,
                    "spread": 5,
                    "over": 0.0,
                    "then": "stay",
                    "thenLimit": 3600.0,
                    "announce": "both",
                },
                "priority": {"resources": (), "emergency": False},
                "timers": {"t1": 0.5, "t2": 4.0, "t4": 5.0, "timerC": 181.0},
                "limits": {
                    "message": 65536,
                    "headers": 100,
                    "line": 8192,
                    "associations": 4096,
                    "transactions": 200000,
                },
                "control": None,
                "manhole": None,
                "metrics": None,
                "controllers": (),
            },
        )

    def test_clientDefaults(self) -> None:
        """
        The least that a client's file can say, and what it means.
        """
        config = parseClient(CLIENT, "c.toml")
        self.assertEqual(
            config.model_dump(exclude={"timers", "limits", "orders", "report"}),
            {
                "client": {
                    "name": "c",
                    "listen": ("udp:5060:interface=127.0.0.1",),
                    "listenNetwork": (),
                    "advertise": None,
                    "stack": "auto",
                    "strategy": "round-robin",
                    "responsePeriod": 2.0,
                    "returns": "countdown",
                    "skips": None,
                    "overloadControl": True,
                    "labels": {},
                    "group": None,
                },
                "servers": (
                    {
                        "name": "s",
                        "address": "sctp:host=127.0.0.1:port=5060",
                        "options": "",
                        "cost": 0,
                        "weight": 1,
                        "subscribe": True,
                    },
                ),
                "users": (),
                "registrar": None,
                "tdm": None,
                "probe": {
                    "timeout": 2.0,
                    "interval": 2.0,
                    "longest": 60.0,
                    "down": 1,
                    "up": 1,
                    "every": None,
                    "grace": 5.0,
                },
                "reconnect": {"interval": 1.0, "longest": 30.0},
                "dns": {"servers": (), "shortest": 1.0, "longest": 3600.0},
                "priority": {"resources": (), "emergency": False},
                "control": None,
                "manhole": None,
                "metrics": None,
                "controllers": (),
            },
        )

    def test_values(self) -> None:
        """
        Networks and URIs arrive as such, domains in lower case.
        """
        config = parseServer(
            SERVER
            + """
            [[clients]]
            name = "a"
            networks = ["10.0.0.0/8", "2001:db8::1"]
            address = "sip:10.0.0.1:5060;transport=tcp"
            [[routes]]
            domain = "Example.ORG"
            to = ["a", "sip:b@example.com"]
            [[routes]]
            domain = "[2001:DB8::1]"
            to = ["a"]
            [[reject]]
            origin.network = "192.0.2.0/24"
            [access]
            allow = ["a", "192.0.2.0/24"]
            """,
            "s.toml",
        )
        networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::1/128"))
        self.assertEqual(config.clients[0].networks, networks)
        self.assertEqual(config.clients[0].address, parseURI(b"sip:10.0.0.1:5060;transport=tcp"))
        self.assertEqual(config.routes[0].domain, "example.org")
        self.assertEqual(config.routes[0].to, ("a", parseURI(b"sip:b@example.com")))
        self.assertEqual(config.routes[1].domain, "[2001:db8::1]")
        assert config.reject[0].origin is not None
        self.assertEqual(config.reject[0].origin.network, ip_network("192.0.2.0/24"))
        self.assertEqual(config.access.allow, ("a", ip_network("192.0.2.0/24")))

    def test_frozen(self) -> None:
        config = parseServer(SERVER, "s.toml")
        self.assertRaises(ValidationError, setattr, config.drain, "guard", 1.0)

    def test_paths(self) -> None:
        """
        Relative paths count from the file, whatever the working directory is.
        """
        text = SERVER + '[manhole]\nauthorized_keys = "keys"\nhost_key = "/var/host"'
        manhole = parseServer(text, "/etc/sipgrace/s.toml").manhole
        assert manhole is not None
        self.assertEqual(manhole.authorizedKeys, Path("/etc/sipgrace/keys"))
        self.assertEqual(manhole.hostKey, Path("/var/host"))

    def test_margin(self) -> None:
        def forced(text: str, guard: float) -> float:
            return parseServer(f"{SERVER}[drain]\n{text}", "s.toml").drain.marginOf(guard)

        self.assertEqual(forced("", 30.0), 2.0)
        self.assertEqual(forced("", 4.0), 0.4)
        self.assertEqual(forced("margin = 10", 30.0), 10.0)
        self.assertEqual(forced("margin = 10", 5.0), 2.5)
