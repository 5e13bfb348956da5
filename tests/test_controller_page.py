"""
The page in a real browser, over a real site; the controller behind it is as the tests put it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest

from sipgrace.controller.facts import Outcome, Person
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Role
from tests.chromium import Browser, chromium
from tests.controllerfake import FakeController
from tests.scenarios.waiting import moment
from tests.webcase import WebCase

BUILD = Path(__file__).parent.parent / "build"
CLIENTS = ("client-110", "client-112", "client-114")
ALICE = Person("alice", Role.OPERATOR)
CONNECTION = "document.getElementById('connection')?.textContent"
LIVE = f"{CONNECTION}?.includes('live')"
PRESS = "[...document.querySelectorAll('{where} button')].find((one) => one.textContent === {text!r}).click()"


class PageCase(WebCase):
    """
    Three servers, three clients, a browser.
    """

    timeout = 120

    async def browser(self, role: str | None = "operator") -> Browser:
        """
        A browser at the page, signed in unless the role is C{None}.
        """
        if not chromium():
            raise SkipTest("chromium is not installed, and the page is not to be seen without a browser")
        for name, site in (("server-102", "north"), ("server-104", "north"), ("server-106", "south")):
            self.controller.server(name, clients=CLIENTS, labels={"site": site}, waiting=7)
        for name in CLIENTS:
            self.client(name)
        browser = Browser(reactor, Path(self.mktemp()).absolute())
        self.addCleanup(browser.close)
        await browser.open(1280, 900)
        await browser.scheme("dark")
        await browser.goTo(self.url + "/")
        if role is not None:
            await self.signIn(browser, f"{role}'s")
            await browser.until(LIVE)
            await browser.until("document.querySelectorAll('.mesh tbody tr').length === 3")
        return browser

    async def signIn(self, browser: Browser, token: str) -> None:
        """
        Puts a token where it belongs.
        """
        await browser.until("document.querySelector('input[name=token]')")
        await browser.evaluate(
            f'document.querySelector("input[name=token]").value = "{token}";'
            "document.querySelector('button[type=submit]').click()"
        )

    def client(self, name: str, **of: Any) -> None:
        """
        A client, and what it says of server-102 besides.
        """
        self.controller.client(name, {"server-102": of, "server-104": {}, "server-106": {}})

    def draining(self, waiting: int, began: float, why: str = "new kernel", **more: Any) -> None:
        """
        Has server-102 say how its drain goes.
        """
        after = time.time() - began
        order = {
            "kind": "drain",
            "who": "alice via controller-120",
            "when": began,
            "why": why,
            "guard": 30.0,
        }
        facts = {
            "state": "draining",
            "waiting": waiting,
            "guardLeft": 30 - after,
            "retryAfter": 60 - after,
            "refused": 4 * (23 - waiting),
            "associations": 3,
            "order": order,
            **more,
        }
        self.controller.server("server-102", clients=CLIENTS, labels={"site": "north"}, **facts)


class Looking(PageCase):
    """
    What is to be seen.
    """

    async def test_drain(self) -> None:
        """
        A drain in progress: how many calls are left and how long, counting down; its course; who is
        told; which clients leave it alone. There is a picture of it in build/.
        """
        browser = await self.browser()
        began = time.time()
        record = await self.controller.order(
            {"node": "server-102", "kind": "drain", "why": "new kernel", "guard": 30.0}, ALICE
        )
        for waiting in (23, 22, 19, 16, 12, 9):
            self.draining(waiting, began)
            await moment(0.25)
        for client, countdown in (("client-110", 57.0), ("client-112", 59.0)):
            self.client(client, active=False, countdown=countdown, state="Counting")
        card = "document.querySelector('article.card[aria-label=\"server-102: draining\"]')"
        await browser.until(f"{card}?.innerText.includes('calls left\\n9\\n')")
        text = await browser.evaluate(f"{card}.innerText")
        self.assertIn("drain by alice via controller-120", text)
        self.assertIn("new kernel", text)
        left = await browser.evaluate(f"{card}.querySelector('.count').textContent")
        self.assertRegex(left, r"\A0:2\d\Z")
        later = f"{card}.querySelector('.count').textContent !== '{left}'"
        await browser.until(later)
        # Nine of 23 are left.
        self.assertEqual(
            await browser.evaluate(
                f"[{card}.querySelector('progress').value, {card}.querySelector('progress').max]"
            ),
            [14, 23],
        )
        path = await browser.evaluate(f"{card}.querySelector('.plot .waiting').getAttribute('d')")
        self.assertGreaterEqual(path.count("V"), 6)
        cells = "[...document.querySelectorAll('.mesh tbody tr:first-child .cell')]"
        await browser.until(f"{cells}.filter((one) => one.innerText.includes('◷')).length === 2")
        self.assertEqual(
            await browser.evaluate(f"{cells}.map((one) => one.getAttribute('aria-label'))"),
            [
                "client-110 to server-102: 0:57",
                "client-112 to server-102: 0:59",
                "client-114 to server-102: up",
            ],
        )
        self.assertEqual(
            await browser.evaluate("document.querySelector('.figures strong').textContent"), "2/3"
        )
        await browser.screenshot(BUILD / "controller-drain.png")
        self.assertGreater((BUILD / "controller-drain.png").stat().st_size, 20_000)
        # And when it is over.
        self.controller.orderEnds(record.id, Outcome.DONE)
        self.draining(0, began, state="offline", associations=0, guardLeft=None)
        await browser.until(
            "document.querySelector('article.card[aria-label=\"server-102: offline\"]')"
            "?.innerText.includes('clients come back in')"
        )
        self.assertEqual(browser.complaints, [])

    async def test_report(self) -> None:
        """
        The course of a drain that is over, from its report, as soon as that comes.
        """
        browser = await self.browser()
        await browser.evaluate("location.hash = 'drains'")
        rows = [[n * 0.5, max(0, 10 - n), 0, n, 2 * n, n] for n in range(12)]
        report = {
            "orders": [{"who": "alice", "why": "new kernel"}],
            "guard_s": 30.0,
            "waiting": 10,
            "settled": 10,
            "refused": 22,
            "forced": 0,
            "failed": 0,
            "aborted": 0,
            "drained_after_s": 5.0,
            "cancelled_after_s": None,
            "marks": [[0, "draining"], [5.0, "drained"], [5.1, "offline"]],
            "timeline": {
                "columns": ["after_s", "waiting", "accepted", "settled", "refused", "rerouted"],
                "rows": rows,
            },
            "maintenance": None,
        }
        self.controller.fleet.reported("server-104", time.time() - 60, report)
        await browser.until("document.querySelector('article .plot .settled')")
        text = await browser.evaluate("document.querySelector('article').innerText")
        self.assertIn("no call lost", text)
        self.assertIn("drained after 5.0 s, by alice: new kernel", text)
        marks = "[...document.querySelectorAll('.plot .word')].map((one) => one.textContent)"
        self.assertEqual(await browser.evaluate(marks), ["draining", "drained", "offline"])

    async def test_conflict(self) -> None:
        """
        Where two of three clients reach a server, that is said, and the third is marked.
        """
        browser = await self.browser()
        self.client("client-112", active=False, associated=False, state="Waiting")
        await browser.until("document.querySelector('.troubles')")
        self.assertIn(
            "2 of 3 clients reach server-102; client-112 does not",
            await browser.evaluate("document.querySelector('.troubles').innerText"),
        )
        marked = "[...document.querySelectorAll('td.conflict .cell')].map((one) => one.title)"
        await browser.until("document.querySelector('td.conflict')")
        self.assertEqual(await browser.evaluate(marked), ["client-112 to server-102: down, in conflict"])

    async def test_lost(self) -> None:
        """
        A node whose link is lost is shown as lost, not as gone.
        """
        browser = await self.browser()
        link = self.controller.fleet.linkOf("server-104")
        assert link is not None
        self.controller.fleet.lost("server-104", link, "no sign of life for 30 s")
        await browser.until(
            "document.querySelector('.troubles')?.innerText.includes('no sign of life for 30 s')"
        )
        self.assertEqual(await browser.evaluate("document.querySelectorAll('.mesh tbody tr').length"), 3)
        self.assertIn(
            "lost", await browser.evaluate("document.querySelectorAll('.mesh tbody tr')[1].innerText")
        )

    async def test_hostile(self) -> None:
        """
        Whatever nodes and people say is shown as what it is: text.
        """
        browser = await self.browser()
        evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
        await self.controller.order({"node": "server-102", "kind": "drain", "why": evil}, ALICE)
        self.controller.server('server-"><b>', clients=CLIENTS, labels={"site": evil})
        self.draining(3, time.time(), why=evil)
        self.controller.fleet.happened(
            "server-102",
            {"number": 9, "change": "refused", "state": "draining", "at": 1.0, "text": evil},
        )
        self.controller.records = [{"at": 2.0, "what": evil, "why": evil}]
        for view, times in (("fleet", 3), ("orders", 1), ("audit", 2)):
            await browser.evaluate(f"location.hash = '{view}'")
            await browser.until(
                f"document.querySelector('main').innerText.split('onerror=').length > {times}"
            )
        self.assertEqual(
            await browser.evaluate("document.querySelectorAll('img, main script, main b').length"), 0
        )
        self.assertIsNone(await browser.evaluate("window.evil ?? null"))

    async def test_own(self) -> None:
        """
        Nothing comes from elsewhere, and the browser complains of nothing.
        """
        browser = await self.browser()
        for view in ("rolling", "orders", "schedules", "drains", "audit", "fleet"):
            await browser.evaluate(f"location.hash = '{view}'")
            await browser.until(f"document.querySelector('nav a[aria-current]').hash === '#{view}'")
        names = await browser.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        self.assertGreater(len(names), 9)
        self.assertEqual([name for name in names if not name.startswith(self.url + "/")], [])
        self.assertEqual(browser.complaints, [])
        self.assertEqual(await browser.evaluate("document.cookie"), "")

    async def test_phone(self) -> None:
        """
        On a phone nothing sticks out, and what is to be pressed is large enough.
        """
        browser = await self.browser()
        self.draining(9, time.time())
        await browser.size(360, 740, 2)
        await browser.until("document.querySelector('article.card')")
        for view in ("fleet", "rolling", "orders", "schedules", "drains", "audit"):
            await browser.evaluate(f"location.hash = '{view}'")
            await browser.until(f"document.querySelector('nav a[aria-current]').hash === '#{view}'")
            self.assertEqual(await browser.evaluate("document.documentElement.scrollWidth"), 360, view)
        await browser.evaluate("location.hash = 'fleet'")
        await browser.until("document.querySelector('.cell')")
        low = (
            "Math.min(...[...document.querySelectorAll('main button:not(.name)')]"
            ".map((one) => one.offsetHeight))"
        )
        self.assertGreaterEqual(await browser.evaluate(low), 32)

    async def test_many(self) -> None:
        """
        Of a large fleet those are shown with which something is amiss; any others are found by name or label.
        """
        browser = await self.browser()
        servers = {f"server-{number}": {} for number in range(200, 300)}
        for name in servers:
            self.controller.server(name, labels={"site": "south" if name.endswith("7") else "north"})
        for number in range(200, 300):
            self.controller.client(f"client-{number}", servers)
        self.controller.client("client-277", {**servers, "server-288": {"active": False}})
        await browser.until("document.querySelector('td.conflict')")
        rows = "[...document.querySelectorAll('.mesh tbody th .name')].map((one) => one.textContent)"
        names = await browser.evaluate(rows)
        self.assertEqual((len(names), names[0]), (60, "server-288"))
        self.assertIn("client-277", await browser.evaluate("document.querySelector('.mesh thead').innerText"))
        self.assertEqual(
            await browser.evaluate("document.querySelector('.mesh tbody .sum').textContent"), "99 of 100"
        )
        self.assertIn(
            "60 of 103 servers and 24 of 103 clients",
            await browser.evaluate("document.querySelector('main').innerText"),
        )
        await browser.evaluate("document.querySelector('.filter').focus()")
        for letter in "site=south":
            await browser.command("Input.dispatchKeyEvent", type="char", text=letter)
        await browser.until("document.querySelectorAll('.mesh tbody tr').length === 11")
        self.assertEqual(await browser.evaluate("document.querySelector('.filter').value"), "site=south")
        self.assertEqual(browser.complaints, [])

    async def test_named(self) -> None:
        """
        All that can be pressed or filled in has a name for those who do not see it.
        """
        browser = await self.browser()
        self.draining(9, time.time())
        await browser.until("document.querySelector('article.card')")
        await browser.evaluate(PRESS.format(where=".mesh", text="Drain…"))
        await browser.until("document.getElementById('dialog').open")
        tree = await browser.command("Accessibility.getFullAXTree")
        roles = (
            "button",
            "textbox",
            "spinbutton",
            "combobox",
            "checkbox",
            "link",
            "img",
            "dialog",
            "progressbar",
        )
        seen = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node.get("ignored") and node.get("role", {}).get("value") in roles
        ]
        self.assertIn(("dialog", "Drain server-104"), seen)
        self.assertGreater(len(seen), 8)
        self.assertEqual([role for role, name in seen if not name.strip()], [])

    async def test_focus(self) -> None:
        """
        What has the keyboard's focus keeps it while the page is drawn anew.
        """
        browser = await self.browser()
        await browser.evaluate("document.querySelector('[data-key=\"server:server-104\"]').focus()")
        self.draining(9, time.time())
        await browser.until("document.querySelector('article.card')")
        self.assertEqual(await browser.evaluate("document.activeElement.dataset.key"), "server:server-104")


class Doing(PageCase):
    """
    What is to be done.
    """

    async def test_signIn(self) -> None:
        """
        A wrong token is told so; the right one is kept for the tab alone, and forgotten when leaving.
        """
        browser = await self.browser(None)
        await self.signIn(browser, "wrong")
        await browser.until(
            "document.querySelector('.trouble').textContent === 'this token is not known here'"
        )
        await self.signIn(browser, "viewer's")
        await browser.until(LIVE)
        self.assertEqual(
            await browser.evaluate("[sessionStorage.length, localStorage['sipgrace.token'] ?? '']"), [1, ""]
        )
        await browser.evaluate(PRESS.format(where=".bar", text="Sign out"))
        await browser.until("document.querySelector('input[name=token]')")
        self.assertEqual(await browser.evaluate("sessionStorage.length"), 0)
        await self.until(lambda: self.site.feed.readers == 0)

    async def test_order(self) -> None:
        """
        A drain from the page: what it will do is shown before, and it is given as filled in.
        """
        browser = await self.browser()
        await browser.evaluate(PRESS.format(where=".mesh tbody tr:nth-child(2)", text="Drain…"))
        await browser.until("document.getElementById('dialog').open")
        effect = "[...document.querySelectorAll('#dialog .effect li')].map((one) => one.textContent)"
        self.assertEqual(
            await browser.evaluate(effect),
            [
                "New calls are refused at once.",
                "The 7 calls that are being set up now are finished.",
                "Then its 2 associations are shut down, after the guard that is configured at the latest.",
                "3 clients will use other servers meanwhile.",
                "2 servers of group default will still be serving.",
            ],
        )
        self.assertEqual(self.controller.asked, [])
        await self.fillIn(browser, why="new kernel", guard="20")
        self.assertIn("after 20 s at the latest", (await browser.evaluate(effect))[2])
        await browser.evaluate(PRESS.format(where="#dialog", text="Drain server-104"))
        await browser.until("!document.getElementById('dialog').open")
        ((what, values, who),) = self.controller.asked
        self.assertEqual(
            (what, values, who),
            (
                "order",
                {"node": "server-104", "kind": "drain", "why": "new kernel", "guard": 20},
                "operator",
            ),
        )
        await browser.until("document.querySelector('.toast').textContent === 'server-104: drain obeyed'")

    async def fillIn(self, browser: Browser, **values: str) -> None:
        """
        Fills in the dialog.
        """
        for name, value in values.items():
            await browser.evaluate(
                f"(() => {{ const one = document.querySelector('#dialog [name={name}]'); "
                f" one.value = '{value}'; one.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
            )

    async def test_refused(self) -> None:
        """
        Where it is refused, the dialog stays, and says why.
        """
        browser = await self.browser()
        await browser.evaluate(PRESS.format(where=".mesh tbody tr:nth-child(2)", text="Drain…"))
        self.controller.trouble = OrderRefused("the budget of default has no room: server-102 is away")
        await browser.evaluate(PRESS.format(where="#dialog", text="Drain server-104"))
        await browser.until(
            "document.querySelector('#dialog .trouble').textContent"
            " === 'the budget of default has no room: server-102 is away'"
        )
        self.assertTrue(await browser.evaluate("document.getElementById('dialog').open"))

    async def test_rolling(self) -> None:
        """
        A rolling maintenance of chosen servers, and its progress.
        """
        browser = await self.browser()
        await browser.evaluate("location.hash = 'rolling'")
        await browser.until("document.querySelector('main button.primary')")
        await browser.evaluate(PRESS.format(where="main", text="Begin…"))
        await self.fillIn(browser, whom="site=north", settle="2", why="monthly")
        await browser.evaluate(PRESS.format(where="#dialog", text="Begin"))
        await browser.until("document.querySelector('article.card.info')")
        self.assertEqual(
            self.controller.asked,
            [
                (
                    "rolling",
                    {"select": {"site": "north"}, "atOnce": 1, "settle": 2, "then": "run", "why": "monthly"},
                    "operator",
                )
            ],
        )
        self.controller.rolls_(
            "rolling-1", steps={"server-102": "done", "server-104": "settling", "server-106": "waiting"}
        )
        await browser.until("document.querySelector('.steps')?.innerText.includes('server-104 settling')")
        await browser.evaluate(PRESS.format(where="main", text="Pause…"))
        await browser.evaluate(PRESS.format(where="#dialog", text="Pause"))
        await browser.until("document.querySelector('article .pill').textContent === 'paused'")

    async def test_viewer(self) -> None:
        """
        Who may order nothing is offered nothing.
        """
        browser = await self.browser("viewer")
        for view in ("fleet", "rolling", "orders", "schedules"):
            await browser.evaluate(f"location.hash = '{view}'")
            await browser.until(f"document.querySelector('nav a[aria-current]').hash === '#{view}'")
            offered = (
                "[...document.querySelectorAll('main button')]"
                ".filter((one) => one.textContent.endsWith('…')).length"
            )
            self.assertEqual(await browser.evaluate(offered), 0, view)

    async def test_offline(self) -> None:
        """
        What loses calls is offered to an admin alone, not at a glance, and wants the node's name typed.
        """
        browser = await self.browser("admin")
        self.assertEqual(await browser.evaluate("document.querySelectorAll('.mesh button.danger').length"), 0)
        await browser.evaluate("document.querySelector('[data-key=\"server:server-104\"]').click()")
        await browser.evaluate(PRESS.format(where="#dialog", text="Offline…"))
        submit = "document.querySelector('#dialog button[type=submit]')"
        await self.fillIn(browser, name="server-102")
        self.assertTrue(await browser.evaluate(f"{submit}.disabled"))
        await self.fillIn(browser, name="server-104")
        self.assertFalse(await browser.evaluate(f"{submit}.disabled"))
        await browser.evaluate(f"{submit}.click()")
        await self.until(lambda: self.controller.asked)
        self.assertEqual(self.controller.asked[0][1], {"node": "server-104", "kind": "offline"})

    async def test_reject(self) -> None:
        """
        A node's own word in its details; a rule that refuses calls, and how it is taken back.
        """
        browser = await self.browser()
        link: Any = self.controller.fleet.linkOf("server-104")
        rule = '{"name": "premium", "status": 603, "destination": {"prefix": "0900"}}'
        link.facts["rejects"] = [{"name": "premium", "rule": rule, "who": "bob", "when": 1.0, "why": "fraud"}]
        await browser.evaluate("document.querySelector('[data-key=\"server:server-104\"]').click()")
        await browser.until("document.querySelector('#dialog .pill.warn')")
        self.assertIn(
            "refuses premium: 603 to prefix 0900, by bob: fraud",
            await browser.evaluate("document.querySelector('#dialog').innerText"),
        )
        await browser.evaluate(PRESS.format(where="#dialog", text="Admit premium…"))
        await browser.evaluate(PRESS.format(where="#dialog", text="Admit"))
        await browser.until("!document.getElementById('dialog').open")
        await browser.evaluate("document.querySelector('[data-key=\"server:server-104\"]').click()")
        await browser.evaluate(PRESS.format(where="#dialog", text="Refuse calls…"))
        await self.fillIn(browser, name="flood")
        await self.fillIn(browser, fromWhat="network")
        wrong = "document.querySelector('#dialog > form > .trouble').textContent"
        self.assertEqual(await browser.evaluate(wrong), "Say which.")
        await self.fillIn(browser, **{"from": "192.0.2.0/24"})
        await browser.evaluate(PRESS.format(where="#dialog", text="Refuse these calls"))
        await browser.until("!document.getElementById('dialog').open")
        rules = [asked[1] for asked in self.controller.asked]
        self.assertEqual(
            rules,
            [
                {"node": "server-104", "kind": "admit", "rule": "premium"},
                {
                    "node": "server-104",
                    "kind": "reject",
                    "rule": '{"name":"flood","status":403,"origin":{"network":"192.0.2.0/24"}}',
                },
            ],
        )
        self.assertEqual(browser.complaints, [])

    async def test_clientsBack(self) -> None:
        """
        In its details a server that is back says which clients are not.
        """
        browser = await self.browser()
        name = "document.querySelector('[data-key=\"server:server-104\"]')"
        facts: dict[str, Any] = {"awaited": ["client-112", "client-114"], "missing": ["trunk"]}
        for state, seen in (("offline", False), ("serving", True)):
            self.controller.server("server-104", clients=CLIENTS, state=state, **facts)
            await browser.until(f"{name}.closest('tr').innerText.includes('{state}')")
            await browser.evaluate(f"{name}.click()")
            await browser.until(f"document.querySelector('#dialog').innerText.includes('{state}')")
            text = await browser.evaluate("document.querySelector('#dialog').innerText")
            self.assertEqual("Waits for\nclient-112, client-114" in text, seen, text)
            self.assertIn("Missing\ntrunk", text)
        self.assertEqual(browser.complaints, [])

    async def test_peers(self) -> None:
        """
        A node of another controller's is asked, too.
        """
        browser = await self.browser()
        other = FakeController("controller-121")
        other.server("server-109")
        self.controller.fleet.adopt("controller-121", other.fleet.node("server-109"))
        name = "document.querySelector('[data-key=\"server:server-109\"]')"
        await browser.until(name)
        await browser.evaluate(f"{name}.click()")
        await browser.until("document.querySelector('#dialog .more dl')")
        self.assertIn(
            "udp:5060, says controller-121",
            await browser.evaluate("document.querySelector('#dialog .more').innerText"),
        )

    async def test_resumed(self) -> None:
        """
        When the stream breaks off it is taken up again, and what was missed is seen.
        """
        browser = await self.browser()
        self.site.feed.stop()
        self.controller.server("server-108")
        await browser.until(
            f"{CONNECTION}.includes('no link') || document.querySelectorAll('.mesh tbody tr').length === 4"
        )
        await browser.until(f"{LIVE} && document.querySelectorAll('.mesh tbody tr').length === 4")
        self.assertEqual(browser.complaints, [])
