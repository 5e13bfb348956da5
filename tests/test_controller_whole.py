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
from sipgrace.commands.main import sipgrace
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.reach import Reach
from sipgrace.controller.service import ControllerService
from tests.chromium import Browser, chromium
from tests.controlled import SERVER, Call
from tests.keysmade import TOKEN
from tests.test_controller_service import ControllerCase


class Whole(ControllerCase):
    """
    One controller, servers that run C{true} for their maintenance.
    """

    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[tuple[Any, Any]] = []

        def keep(reach: Any, job: Any) -> None:
            self.jobs.append((reach, job))

        self.patch(Reach, "carryOut", keep)
        self.patch(Control, "carryOut", keep)
        self.url = ""

    async def network(self, *names: str) -> tuple[ControllerService, list[Any]]:
        """
        A controller and servers.
        """
        controller = await self.controller()
        assert controller.http is not None
        host: Any = controller.http.getHost()
        self.url = f"http://127.0.7.4:{host.port}"
        self.assertIn("[drain]\n", SERVER)
        keys = self.keys()
        servers = [
            # The last section of the file is [drain].
            await self.server(name, controller, orders=f'then = "run true"\n{keys}')
            for name in names
        ]
        return controller, servers

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
        self.assertEqual((result.exit_code, result.output), (0, ""))
        reach, job = self.jobs.pop()
        return Deferred.fromCoroutine(reach.outcome(reactor, job))

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
