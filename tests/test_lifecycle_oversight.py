"""
What stands around a server's lifecycle, put together from its file.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from sipgrace.config.load import parseServer
from sipgrace.errors import ConfigError
from sipgrace.lifecycle import audit
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.server.service import ServerService

SERVER = """
[server]
name = "server-1"
listen = ["udp:0:interface=127.0.7.3"]
[orders]
audit = "{folder}/audit.jsonl"
[report]
dir = "{folder}"
"""


class ServiceTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def service(self, text: str = SERVER, **values: str) -> ServerService:
        values = {"folder": os.fspath(self.folder), **values}
        return ServerService(reactor, parseServer(text.format(**values), "server.toml"))

    async def stop(self, service: ServerService) -> None:
        await service.stopService()

    async def assertCannotStart(self, service: ServerService, text: str) -> None:
        error = self.assertRaises(ConfigError, service.startService)
        self.assertEqual(str(error), text)
        await self.stop(service)

    async def test_whole(self) -> None:
        """
        From the start to the end, all is written down, and on the disk when the service has stopped.
        """
        service = self.service()
        await service.startService()
        status = service.status()
        json.dumps(status)
        keys = (
            "guardEstimate",
            "setupTimes",
            "maintenance",
            "maintained",
            "overload",
            "schedule",
            "backIn",
            "slowLeft",
            "refusedShare",
        )
        self.assertEqual(
            {key: status[key] for key in keys},
            {
                "guardEstimate": {"seconds": 5.0, "basis": "floor", "calls": 0},
                "setupTimes": {"observed": 0, "median": None, "p99": None},
                "maintenance": None,
                "maintained": None,
                "overload": None,
                "schedule": [],
                "backIn": None,
                "slowLeft": None,
                "refusedShare": 0.0,
            },
        )
        await service.leave()
        await self.stop(service)
        records = [json.loads(line) for line in (self.folder / "audit.jsonl").read_text("utf-8").splitlines()]
        said = [(one["what"], one.get("source"), one.get("by"), one.get("state")) for one in records]
        # What is written by the way may come after what is written at once.
        self.assertEqual(
            sorted(said, key=str),
            sorted(
                [
                    ("order", "process", "start", None),
                    ("obeyed", "process", "start", None),
                    ("ended", None, None, "serving"),
                    ("order", "signal", "signal", None),
                    ("obeyed", "signal", "signal", None),
                    ("ended", None, None, "offline"),
                    ("order", "process", "stop", None),
                    ("obeyed", "process", "stop", None),
                ],
                key=str,
            ),
        )
        self.assertEqual(
            sorted(path.suffix for path in self.folder.iterdir()), [".html", ".json", ".jsonl"]
        )

    async def test_leftBefore(self) -> None:
        """
        Whoever is out of service already leaves at a signal without an order, which would be refused.
        """
        service = self.service()
        await service.startService()
        order = Order(kind=Kind.DRAIN, who="olga", when=time.time())
        obeyed = await service.element.door.give(order, Giver(Source.SOCKET, "olga"))
        self.assertEqual(await obeyed.whenEnded(), State.OFFLINE)
        self.assertEqual(await service.leave(), State.OFFLINE)
        await self.stop(service)
        records = [json.loads(line) for line in (self.folder / "audit.jsonl").read_text("utf-8").splitlines()]
        self.assertEqual(
            {(one["by"], one["what"]) for one in records if "by" in one},
            {(by, what) for by in ("start", "olga", "stop") for what in ("order", "obeyed")},
        )

    async def test_rehearsed(self) -> None:
        """
        A rehearsal, for which one who may only look on may ask, does not say which command would be run.
        """
        service = self.service(SERVER + '[drain]\nthen = "run /usr/sbin/update --token secret"\n')
        await service.startService()
        order = Order(kind=Kind.REHEARSE, who="victor", when=time.time())
        obeyed = await service.element.door.give(order, Giver(Source.SOCKET, "victor"))
        self.assertEqual(obeyed.result["then"], "run")
        self.assertNotIn("update", repr(obeyed.result))
        await self.stop(service)

    async def test_noAudit(self) -> None:
        path = self.folder / "no" / "audit.jsonl"
        service = self.service(SERVER.replace("{folder}/audit", "{folder}/no/audit"))
        await self.assertCannotStart(service, f"orders.audit: cannot write {path}: No such file or directory")

    async def test_noReports(self) -> None:
        service = self.service(SERVER.replace('dir = "{folder}"', 'dir = "{folder}/no"'))
        await self.assertCannotStart(
            service, f"report.dir: expected a folder that can be written to, found {self.folder / 'no'}"
        )

    async def test_noNonces(self) -> None:
        path = self.folder / "audit.jsonl.nonces"
        path.mkdir()
        await self.assertCannotStart(
            self.service(), f"{path}: the nonces of earlier orders cannot be read: Is a directory"
        )

    async def test_slowDisk(self) -> None:
        """
        A disk that does not answer holds up neither the start, nor the reactor, nor the end for long.
        """
        go = threading.Event()
        self.addCleanup(go.set)
        self.patch(audit.os, "fsync", lambda descriptor: go.wait(20))
        service = self.service()
        clock: Any = reactor
        began = clock.seconds()
        await service.startService()
        self.assertTrue(0.9 < clock.seconds() - began < 5, clock.seconds() - began)
        self.assertEqual(service.status()["state"], "serving")
        began = clock.seconds()
        await self.stop(service)
        self.assertTrue(1.5 < clock.seconds() - began < 8, clock.seconds() - began)
