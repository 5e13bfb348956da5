"""
A controller with real nodes, as people use it: from the command line, and on its page in a real browser.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest

from sipgrace.commands.access import Control
from sipgrace.commands.certificates import Authority
from sipgrace.commands.main import sipgrace
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.reach import Reach
from sipgrace.controller.service import ControllerService
from tests.chromium import Browser, chromium
from tests.controlled import SERVER, Call
from tests.keysmade import TOKEN
from tests.test_commands_keys import makeAuthority
from tests.test_controller_service import ControllerCase, TwoCase


class Commanding:
    """
    Takes the reactor's part out of command lines: what is left runs here.
    """

    url: str
    jobs: list[tuple[Any, Any]]

    def take(self) -> None:
        """
        Takes it.
        """
        case: Any = self
        self.jobs: list[tuple[Any, Any]] = []

        def keep(reach: Any, job: Any) -> None:
            self.jobs.append((reach, job))

        case.patch(Reach, "carryOut", keep)
        case.patch(Control, "carryOut", keep)

    def give(self, *words: str) -> Deferred[Outcome]:
        """
        Gives a command line.
        """
        environment = {
            "SIPGRACE_SOCKET": "",
            "SIPGRACE_CONTROLLER": self.url,
            "SIPGRACE_TOKEN": TOKEN,
            "SIPGRACE_TOKEN_FILE": "",
        }
        result = CliRunner().invoke(sipgrace, words, env=environment, catch_exceptions=False)
        assert (result.exit_code, result.output) == (0, ""), result.output
        reach, job = self.jobs.pop()
        return Deferred.fromCoroutine(reach.outcome(reactor, job))

    def at(self, controller: ControllerService) -> str:
        """
        Where its API is.
        """
        port: Any = controller.http
        return f"http://127.0.7.4:{port.getHost().port}"


class Whole(ControllerCase, Commanding):
    """
    One controller, servers that run C{true} for their maintenance.
    """

    def setUp(self) -> None:
        super().setUp()
        self.take()

    async def network(self, *names: str) -> tuple[ControllerService, list[Any]]:
        """
        A controller and servers.
        """
        controller = await self.controller()
        self.url = self.at(controller)
        self.assertIn("[drain]\n", SERVER)
        keys = self.keys()
        servers = [
            # The last section of the file is [drain].
            await self.server(name, controller, orders=f'then = "run true"\n{keys}')
            for name in names
        ]
        return controller, servers

    async def test_drain(self) -> None:
        """
        A drain from the command line, waited for to its end; and back.
        """
        _, (server,) = await self.network("server-1")
        call = Call()
        server.element.ledger.accept(call)
        given = self.give("drain", "--node", "server-1", "--wait", "--json", "--why", "new kernel")
        await self.until(lambda: server.status()["state"] == "draining")
        status = await self.give("status", "--node", "server-1")
        self.assertIn("drain by alice via controller-120", status.text)
        self.assertIn("new kernel", status.text)
        self.assertFalse(given.called)
        server.element.ledger.settle(call)
        outcome = await given
        self.assertEqual((outcome.status, outcome.facts["state"]), (Exit.DONE, "offline"), outcome.text)
        outcome = await self.give("resume", "--node", "server-1", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"]), (Exit.DONE, "serving"), outcome.text)
        outcome = await self.give("orders")
        self.assertEqual(
            [(one["order"]["kind"], one["outcome"]) for one in outcome.facts["orders"]],
            [("resume", "done"), ("drain", "done")],
        )
        audit = await self.give("audit")
        self.assertIn("alice", audit.text)

    async def test_rehearse(self) -> None:
        """
        A rehearsal, to its end.
        """
        _, (server,) = await self.network("server-1")
        call = Call()
        server.element.ledger.accept(call)
        given = self.give("rehearse", "--node", "server-1", "--wait", "--json", "--guard", "1")
        server.element.ledger.settle(call)
        outcome = await given
        self.assertEqual(outcome.status, Exit.DONE, outcome.text)
        self.assertEqual(outcome.facts["guard"], 1.0)
        self.assertIn("settled", outcome.facts["found"])
        self.assertEqual(server.status()["state"], "serving")

    async def test_rolling(self) -> None:
        """
        All servers, one after another, each with its maintenance command.
        """
        _, servers = await self.network("server-1", "server-2")
        outcome = await self.give("rolling", "--all", "--settle", "0.2", "--wait", "--json")
        self.assertEqual(outcome.status, Exit.DONE, outcome.text)
        record = outcome.facts["rolling"]
        self.assertEqual(record["steps"], {"server-1": "done", "server-2": "done"})
        self.assertEqual([one.status()["state"] for one in servers], ["serving", "serving"])
        fleet = await self.give("fleet")
        self.assertEqual([one["state"] for one in fleet.facts["nodes"]], ["serving", "serving"])

    async def test_refused(self) -> None:
        """
        What does not fit is refused by the server itself, and what alice may not by the controller.
        """
        await self.network("server-1")
        outcome = await self.give("cancel", "--node", "server-1")
        self.assertEqual(outcome.status, Exit.REFUSED)
        self.assertTrue(outcome.text.startswith("refused: "), outcome.text)
        outcome = await self.give("offline", "--node", "server-1")
        self.assertEqual(outcome.status, Exit.REFUSED)
        self.assertIn("operator", outcome.text)

    async def test_page(self) -> None:
        """
        A drain in progress, ordered on the page, and its report when it is over.
        """
        if not chromium():
            raise SkipTest("chromium is not installed, and the page is not to be seen without a browser")
        _, (server,) = await self.network("server-1")
        call = Call()
        server.element.ledger.accept(call)
        browser = Browser(reactor, Path(self.mktemp()).absolute())
        self.addCleanup(browser.close)
        await browser.open()
        await browser.goTo(self.url + "/")
        await browser.until("document.querySelector('input[name=token]')")
        await browser.evaluate(
            f"document.querySelector('input[name=token]').value = '{TOKEN}';"
            "document.querySelector('button[type=submit]').click()"
        )
        press = "[...document.querySelectorAll('{} button')].find((one) => one.textContent === '{}').click()"
        await browser.until("document.querySelector('.mesh button.small')")
        await browser.evaluate(press.format(".mesh", "Drain…"))
        await browser.evaluate(press.format("#dialog", "Drain server-1"))
        card = "document.querySelector('article.card[aria-label=\"server-1: draining\"]')"
        await browser.until(f"{card}?.innerText.includes('calls left\\n1\\n')")
        self.assertEqual(server.status()["order"]["who"], "alice via controller-120")
        began = time.monotonic()
        server.element.ledger.settle(call)
        await browser.until("document.querySelector('article.card[aria-label=\"server-1: offline\"]')")
        self.assertLess(time.monotonic() - began, 10)
        await browser.evaluate("location.hash = 'drains'")
        await browser.until("document.querySelector('article .plot')")
        self.assertIn("no call lost", await browser.evaluate("document.querySelector('article').innerText"))
        await browser.evaluate("location.hash = 'orders'")
        await browser.until("document.querySelector('.list .pill')?.textContent === 'done'")
        self.assertEqual(browser.complaints, [])


class Encrypted(ControllerCase, Commanding):
    """
    The API over TLS.
    """

    def text(self, text: str, name: str) -> str:
        """
        A file with a tls string for the API.
        """
        keys = self.folder / "keys"
        listen = f"tls:0:interface=127.0.0.1:privateKey={keys}/localhost.key:certKey={keys}/localhost.crt"
        return text.replace('[http]\nlisten = "tcp:0:interface=127.0.7.4"', f'[http]\nlisten = "{listen}"')

    async def test_trusted(self) -> None:
        """
        A controller whose certificate the CA vouches for is asked; any other gets no token.
        """
        self.take()
        now = makeAuthority().now
        Authority.make(self.folder / "keys", "test", 100, "p256", now).certify("localhost", 100, "p256", now)
        Authority.make(self.folder / "others", "another", 100, "p256", now)
        controller = await self.controller()
        port: Any = controller.http
        self.url = f"https://localhost:{port.getHost().port}"
        outcome = await self.give("fleet", "--ca", str(self.folder / "keys" / "ca.crt"))
        self.assertEqual((outcome.status, outcome.text), (Exit.DONE, "no node has linked up yet"))
        untrusted = "its certificate is not by a CA that is trusted here (see --ca)"
        for words in (("--ca", str(self.folder / "others" / "ca.crt")), ()):
            outcome = await self.give("fleet", *words)
            self.assertEqual(
                (outcome.status, outcome.text),
                (Exit.UNREACHABLE, f"{self.url} has not answered: {untrusted}"),
            )
        self.url = f"https://127.0.0.1:{port.getHost().port}"
        outcome = await self.give("fleet", "--ca", str(self.folder / "keys" / "ca.crt"))
        self.assertEqual(
            (outcome.status, outcome.text),
            (
                Exit.UNREACHABLE,
                f"{self.url} has not answered: its certificate is not for the host that the URL names",
            ),
        )


class Passed(TwoCase, Commanding):
    """
    Through one controller to a server of the other's.
    """

    async def test_drain(self) -> None:
        """
        A drain, waited for, and a rehearsal, and the node's own word; all as for its own.
        """
        self.take()
        first, second = self.controllers
        server = await self.server("server-2", second)
        await self.until(lambda: self.linked(first, "server-2"))
        self.url = self.at(first)
        call = Call()
        server.element.ledger.accept(call)
        given = self.give("drain", "--node", "server-2", "--wait", "--json")
        await self.until(lambda: server.status()["state"] == "draining")
        server.element.ledger.settle(call)
        outcome = await given
        self.assertEqual((outcome.status, outcome.facts["state"]), (Exit.DONE, "offline"), outcome.text)
        outcome = await self.give("resume", "--node", "server-2", "--wait", "--json")
        self.assertEqual(outcome.status, Exit.DONE, outcome.text)
        outcome = await self.give("rehearse", "--node", "server-2", "--wait", "--json", "--guard", "1")
        self.assertEqual((outcome.status, "found" in outcome.facts), (Exit.DONE, True), outcome.text)
        outcome = await self.give("status", "--node", "server-2")
        self.assertEqual(outcome.status, Exit.DONE, outcome.text)
        self.assertEqual((outcome.facts["name"], outcome.facts["state"]), ("server-2", "serving"))
        await second.stopService()
        await self.until(lambda: not self.linked(first, "server-2"))
        outcome = await self.give("status", "--node", "server-2")
        self.assertEqual(outcome.status, Exit.UNREACHABLE)
        self.assertIn(
            "server-2 is a node of controller-121, and controller-121 cannot be reached: ", outcome.text
        )
