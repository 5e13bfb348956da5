"""
L{sipgrace.client.tdmcommand}: with real programs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sipgrace.client.service import ClientService
from sipgrace.client.tdm import ITDMRoute
from sipgrace.client.tdmcommand import CommandRoute
from sipgrace.config.load import parseClient
from sipgrace.errors import ConfigError
from sipgrace.message.message import Request
from sipgrace.proxy.target import Hop
from tests.scenarios.waiting import poll

INVITE = Request.make(
    b"INVITE",
    b"sip:+15551234;$(touch${IFS}x)@example.com",
    (
        (b"Via", b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        (b"Max-Forwards", b"70"),
        (b"From", b'"; `id`" <sip:a@example.com>;tag=1'),
        (b"To", b"<sip:+15551234@example.com>"),
        (b"Call-ID", b"1@example.com"),
        (b"CSeq", b"1 INVITE"),
        (b"Resource-Priority", b"ets.0"),
    ),
)


class CommandTests(TestCase):
    """
    One command, one call.
    """

    timeout = 30

    def route(self, program: str, *arguments: str, **settings: Any) -> CommandRoute:
        """
        A route whose command is a Python program.
        """
        settings.setdefault("limit", 20.0)
        return CommandRoute(reactor, [sys.executable, "-I", "-S", "-c", program, *arguments], **settings)

    async def hop(self, route: CommandRoute) -> Any:
        found = await route.target(INVITE, ("server-102", "server-104"))
        self.assertEqual(route._running, {})
        return found if found is None else (found.hop, found.uri, found.token is route)

    async def test_target(self) -> None:
        """
        It says where the call goes; a user part replaces what was dialled.
        """
        route = self.route(
            "import sys; print(sys.argv[1]); print('more')", "sip:192.0.2.9:5070;transport=tcp"
        )
        verifyObject(ITDMRoute, route)
        self.assertEqual(await self.hop(route), (Hop(b"TCP", "192.0.2.9", 5070), None, True))
        route = self.route("print('sip:911@192.0.2.9')")
        self.assertEqual(await self.hop(route), (Hop(b"UDP", "192.0.2.9", 5060), b"sip:911@192.0.2.9", True))

    async def test_facts(self) -> None:
        """
        It is told of the call in its environment, as it is, and of nothing in its arguments.
        """
        path = Path(self.mktemp()).absolute()
        program = (
            "import json, os, sys\n"
            "facts = {name: value for name, value in os.environ.items() if name.startswith('SIPGRACE_')}\n"
            "json.dump([sys.argv[1:], facts], open(sys.argv[1], 'w'))\n"
            "print('sip:192.0.2.9')\n"
        )
        await self.hop(self.route(program, str(path), environment={"SIPGRACE_SITE": "b"}))
        self.assertEqual(
            json.loads(path.read_text()),
            [
                [str(path)],
                {
                    "SIPGRACE_SITE": "b",
                    "SIPGRACE_URI": "sip:+15551234;$(touch${IFS}x)@example.com",
                    "SIPGRACE_FROM": '"; `id`" <sip:a@example.com>;tag=1',
                    "SIPGRACE_TO": "<sip:+15551234@example.com>",
                    "SIPGRACE_CALL_ID": "1@example.com",
                    "SIPGRACE_RESOURCE_PRIORITY": "ets.0",
                    "SIPGRACE_TRIED": "server-102 server-104",
                },
            ],
        )

    async def test_noWayOut(self) -> None:
        """
        It refuses; it says nothing, nonsense, or too much; it is killed; it is not there.
        """
        for program in (
            "print('sip:192.0.2.9'); raise SystemExit(3)",
            "pass",
            "print('192.0.2.9')",
            "print('sip:192.0.2.9' + 5000 * ' ', flush=True); import time; time.sleep(60)",
            "import os; os.kill(os.getpid(), 15)",
        ):
            self.assertEqual(await self.hop(self.route(program)), None, program)
        self.assertEqual(await self.hop(CommandRoute(reactor, ["/nowhere/at/all"], 20.0)), None)

    async def test_cannotRun(self) -> None:
        """
        One that is not there, or that nobody may run, is said to be so: its exit status would tell nothing.
        """
        path = Path(self.mktemp()).absolute()
        path.touch(0o600)
        for command in ("/nowhere/at/all", str(path)):
            with capturedLogs() as logged:
                self.assertEqual(await self.hop(CommandRoute(reactor, [command], 20.0)), None)
            self.assertEqual(
                [formatEvent(event) for event in logged],
                [f"command {command}: no way out: there is no such file, or it may not be executed"],
            )

    async def test_time(self) -> None:
        """
        One that takes too long is killed.
        """
        path = Path(self.mktemp()).absolute()
        program = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w')); time.sleep(60)"
        route = self.route(program, str(path), limit=1.5)
        self.assertEqual(await self.hop(route), None)
        await self.until(path.read_text)

    async def test_givenUp(self) -> None:
        """
        So is one for whose answer nobody waits any more, and those that run when the client is stopped;
        beyond the most, none is run.
        """
        path = Path(self.mktemp()).absolute()
        program = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w')); time.sleep(60)"
        route = self.route(program, str(path), most=1)
        found = route.target(INVITE, ())
        self.assertEqual(await route.target(INVITE, ()), None)
        await poll(lambda: path.exists() and path.read_text(), "the program")
        found.addErrback(lambda failure: None)
        found.cancel()
        await self.until(path.read_text)
        self.assertEqual(route._running, {})
        found = route.target(INVITE, ())
        route.stop()
        self.assertEqual(await found, None)

    async def until(self, pid: Any) -> None:
        """
        Waits for the end of a process.
        """
        number = int(pid())

        def ended() -> bool:
            try:
                os.kill(number, 0)
            except ProcessLookupError:
                return True
            return False

        await poll(ended, f"the end of {number}")


TEXT = """
[client]
name = "c"
listen = ["udp:5060:interface=127.0.0.1"]
[[servers]]
name = "s"
address = "tcp:host=127.0.0.1:port=9"
[tdm]
"""


class ConfigTests(TestCase):
    """
    Its configuration.
    """

    def test_made(self) -> None:
        """
        The command is the client's TDM route.
        """
        config = parseClient(TEXT + 'command = ["/usr/bin/route", "-x"]\nlimit = 3\nmost = 7\n', "c.toml")
        route: Any = ClientService(reactor, config)._commands
        self.assertEqual(
            (route.description, route._command, route._limit, route._most),
            ("command /usr/bin/route", ["/usr/bin/route", "-x"], 3.0, 7),
        )

    def test_wrong(self) -> None:
        """
        One of the two, and a program by its path.
        """
        for lines, error in (
            ("", "c.toml: tdm: expected exactly one of gateway and command, found none"),
            (
                'gateway = "sip:a"\ncommand = ["/bin/x"]',
                "c.toml: tdm: expected exactly one of gateway and command, found both",
            ),
            ('command = ["x"]', "c.toml: tdm.command: expected an absolute path first, found 'x'"),
            ('command = ["/x", ""]', "c.toml: tdm.command[2]: expected an argument of a program, found ''"),
        ):
            self.assertEqual(str(self.assertRaises(ConfigError, parseClient, TEXT + lines, "c.toml")), error)
