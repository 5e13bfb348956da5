"""
Tests of C{[control]} in the configuration of both roles.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseClient, parseServer
from sipgrace.config.sections import ControlSection
from sipgrace.errors import ConfigError
from tests.controlled import CLIENT, NOWHERE, SERVER


class Section(SynchronousTestCase):
    """
    The path of the socket.
    """

    def server(self, text: str) -> ControlSection | None:
        """
        What a server's file says.
        """
        return parseServer(SERVER + text, "/etc/sipgrace/server.toml").control

    def wrong(self, text: str) -> str:
        """
        What is wrong with it.
        """
        return str(self.assertRaises(ConfigError, self.server, text)).partition(": ")[2]

    def test_none(self) -> None:
        """
        No socket unless one is asked for.
        """
        self.assertIsNone(self.server(""))

    def test_path(self) -> None:
        """
        Relative to the file's folder.
        """
        for path, found in [("a.sock", "/etc/sipgrace/a.sock"), ("/run/a.sock", "/run/a.sock")]:
            section = self.server(f'[control]\nsocket = "{path}"\n')
            assert section is not None
            self.assertEqual(section.socket, Path(found))

    def test_client(self) -> None:
        config = parseClient(CLIENT.format(address=NOWHERE) + '[control]\nsocket = "/run/c"\n', "client.toml")
        assert config.control is not None
        self.assertEqual(config.control.socket, Path("/run/c"))

    def test_wrong(self) -> None:
        self.assertEqual(self.wrong("[control]\n"), "control.socket: expected this key, found none")
        self.assertEqual(self.wrong("[control]\nsocket = 1\n"), "control.socket: expected a string, found 1")
        self.assertIn(
            "expected one of the keys socket", self.wrong('[control]\nsocket = "a"\nsockte = "b"\n')
        )

    def test_length(self) -> None:
        """
        As long as the path of a socket may be, and no longer.
        """
        most = "/" + "x" * 104 + "ü"
        section = self.server(f'[control]\nsocket = "{most}"\n')
        assert section is not None
        self.assertEqual(section.socket, Path(most))
        self.assertEqual(
            self.wrong(f'[control]\nsocket = "{most}x"\n'),
            f"control.socket: expected a path of at most 107 bytes, as sockets have, found '{most}x'",
        )
