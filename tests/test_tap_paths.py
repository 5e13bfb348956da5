"""
L{sipgrace.tap.paths}: what C{--check} says of the files that a configuration names.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseClient, parseController, parseServer
from sipgrace.tap.manhole import hostKey
from sipgrace.tap.paths import Paths
from tests.keysmade import makeOrderKey

SERVER = """
[server]
name = "server-102"
listen = ["udp:5060:interface=127.0.0.1"]
rejects = "kept/rejects"

[control]
socket = "run/server-102.sock"

[orders]
audit = "log/audit.jsonl"

[report]
dir = "reports"

[manhole]
authorized_keys = "authorized_keys"
host_key = "kept/host_key"
"""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice\n"


class PathsTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Paths of sockets are short.
        self.folder = Path(tempfile.mkdtemp(prefix="sipgrace-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def make(self) -> None:
        """
        All that L{SERVER} names.
        """
        for name in ("run", "log", "reports", "kept"):
            (self.folder / name).mkdir()
        (self.folder / "authorized_keys").write_text(KEY)

    def looked(self, text: str, parse: Any = parseServer) -> Paths:
        paths = Paths()
        paths.look(parse(text, str(self.folder / "file.toml")))
        return paths

    def wrong(self, text: str = SERVER, parse: Any = parseServer) -> list[str]:
        """
        What is, with the folder as C{~}.
        """
        paths = self.looked(text, parse)
        self.assertEqual(paths.missing, [])
        return [line.replace(str(self.folder), "~") for line in paths.wrong]

    def test_well(self) -> None:
        """
        Nothing is wrong, and nothing is made.
        """
        self.make()
        self.assertEqual(self.wrong(), [])
        self.assertEqual(list((self.folder / "kept").iterdir()), [])
        self.assertEqual(list((self.folder / "log").iterdir()), [])

    def test_there(self) -> None:
        """
        Nor is it where a process has used them, or does.
        """
        self.make()
        (self.folder / "log" / "audit.jsonl").touch()
        hostKey(self.folder / "kept" / "host_key")
        self.assertEqual(self.wrong(), [])

    def test_nothing(self) -> None:
        """
        Every key is named.
        """
        self.assertEqual(
            self.wrong(),
            [
                "orders.audit: expected a path in a folder that exists, found ~/log/audit.jsonl",
                "server.rejects: expected a path in a folder that exists, found ~/kept/rejects",
                "control.socket: expected a path in a folder that exists, found ~/run/server-102.sock",
                "report.dir: expected a folder that can be written to, found ~/reports",
                "manhole.authorized_keys: cannot read ~/authorized_keys: No such file or directory",
                "manhole.host_key: expected a path in a folder that exists, found ~/kept/host_key",
            ],
        )

    def test_forbidden(self) -> None:
        """
        Folders and files that somebody else may use.
        """
        self.make()
        (self.folder / "log" / "audit.jsonl").touch()
        closed = (self.folder / "run", self.folder / "reports", self.folder / "log" / "audit.jsonl")
        with patch("sipgrace.tap.paths.os.access", lambda path, mode: path not in closed):
            self.assertEqual(
                self.wrong(),
                [
                    "orders.audit: expected a file that can be read and written to, found ~/log/audit.jsonl",
                    "control.socket: expected a folder that can be written to, found ~/run",
                    "report.dir: expected a folder that can be written to, found ~/reports",
                ],
            )

    def test_others(self) -> None:
        """
        Something else that has the name.
        """
        self.make()
        (self.folder / "log" / "audit.jsonl").mkdir()
        (self.folder / "run" / "server-102.sock").touch()
        (self.folder / "authorized_keys").write_text("")
        (self.folder / "kept" / "host_key").write_text("")
        (self.folder / "kept" / "host_key").chmod(0o644)
        self.assertEqual(
            self.wrong(),
            [
                "orders.audit: expected a file, or nothing yet, found something else at ~/log/audit.jsonl",
                "control.socket: expected a socket, or nothing yet, found something else at "
                "~/run/server-102.sock",
                "manhole.authorized_keys: expected a public key in ~/authorized_keys",
                "manhole.host_key: expected that only the owner may read ~/kept/host_key: "
                "chmod 600 ~/kept/host_key",
            ],
        )

    def test_runtime(self) -> None:
        """
        What systemd makes when it starts a service is not there before, and no mistake.
        """
        text = SERVER.partition("[control]")[0].replace("kept/", "")
        paths = self.looked(text + '[control]\nsocket = "/run/no-such-service/server-102.sock"\n')
        self.assertEqual(paths.wrong, [])
        self.assertEqual(
            paths.missing,
            [
                "control.socket: /run/no-such-service is not there yet; it has to be when the process starts",
            ],
        )

    def test_client(self) -> None:
        text = """
[client]
name = "client-110"
listen = ["udp:5060:interface=127.0.0.1"]
skips = "kept/skips"

[[servers]]
name = "server-102"
address = "tcp:host=127.0.0.1:port=5060"

[registrar]
database = "kept/users"
domains = ["example.org"]

[[registrar.accounts]]
user = "alice"
password = "x"
"""
        self.assertEqual(
            self.wrong(text, parseClient),
            [
                "client.skips: expected a path in a folder that exists, found ~/kept/skips",
                "registrar.database: expected a path in a folder that exists, found ~/kept/users",
            ],
        )

    def test_tdm(self) -> None:
        """
        A client's command has to be there, and be one that can be run.
        """
        program = self.folder / "way-out"
        text = f"""
[client]
name = "client-110"
listen = ["udp:5060:interface=127.0.0.1"]

[[servers]]
name = "server-102"
address = "tcp:host=127.0.0.1:port=5060"

[tdm]
command = ["{program}", "--fast"]
"""
        wrong = ["tdm.command: expected a program that can be run, found ~/way-out"]
        self.assertEqual(self.wrong(text, parseClient), wrong)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o600)
        self.assertEqual(self.wrong(text, parseClient), wrong)
        program.chmod(0o700)
        self.assertEqual(self.wrong(text, parseClient), [])
        program.unlink()
        program.mkdir()
        self.assertEqual(self.wrong(text, parseClient), wrong)

    def test_controller(self) -> None:
        makeOrderKey(self.folder / "order")
        text = """
[controller]
name = "controller-120"

[links]
insecure = true
listen = "tcp:7171:interface=127.0.0.1"

[key]
name = "controller-120"
file = "order"

[store]
path = "kept/fleet.sqlite"
"""
        self.assertEqual(
            self.wrong(text, parseController),
            ["store.path: expected a path in a folder that exists, found ~/kept/fleet.sqlite"],
        )
