"""
C{[[controllers]]}, labels and groups of nodes: L{sipgrace.config.links}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.certificates import Authority
from sipgrace.config.load import parseClient, parseServer
from sipgrace.errors import ConfigError
from tests.test_commands_keys import makeAuthority
from tests.test_config import CLIENT, SERVER

FILES = """
certificate = "{0}.crt"
key = "{0}.key"
ca = "ca.crt"
"""
CONTROLLER = '[[controllers]]\nname = "controller-120"\nhost = "192.0.2.120"\n'


class ControllersTests(SynchronousTestCase):
    """
    Files beside certificates.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        now = makeAuthority().now
        authority = Authority.make(self.folder, "test", 100, "p256", now)
        for name in ("s", "c", "other"):
            authority.certify(name, 100, "ed25519", now)
        self.name = str(self.folder / "s.toml")

    def errors(self, text: str) -> list[str]:
        """
        What is wrong with a server's file.
        """
        error = self.assertRaises(ConfigError, parseServer, SERVER + text, self.name)
        return [line.removeprefix(f"{self.name}: ") for line in str(error).splitlines()]

    def test_secure(self) -> None:
        """
        A controller with certificates; the port and the role need not be said.
        """
        config = parseServer(SERVER + CONTROLLER + FILES.format("s"), self.name)
        (one,) = config.controllers
        self.assertEqual(
            (one.name, one.host, one.port, one.role, one.insecure),
            ("controller-120", "192.0.2.120", 7120, "operator", False),
        )
        self.assertEqual(one.certificate, self.folder / "s.crt")
        self.assertEqual(parseClient(CLIENT, self.name).controllers, ())

    def test_insecure(self) -> None:
        """
        Without TLS on loopback alone, and only when told so.
        """
        loopback = CONTROLLER.replace("192.0.2.120", "127.0.0.120")
        config = parseClient(CLIENT + loopback + "insecure = true\n", self.name)
        self.assertEqual(config.controllers[0].insecure, True)
        self.assertEqual(
            self.errors(CONTROLLER + "insecure = true\n"),
            [
                "controllers[1].host: expected a loopback address with insecure (127.0.0.1), found "
                "'192.0.2.120'"
            ],
        )
        self.assertEqual(
            self.errors(loopback),
            [
                f"controllers[1].{key}: expected this key, found none (sipgrace keys makes what it names)"
                for key in ("certificate", "key", "ca")
            ],
        )

    def test_files(self) -> None:
        """
        What the files hold is looked at, and whose certificate it is.
        """
        good = CONTROLLER + FILES.format("s")
        for text, error in (
            (
                good.replace("s.crt", "c.crt"),
                f"certificate: expected what sipgrace keys makes: '{self.folder}/c.crt' is not that of the "
                f"key '{self.folder}/s.key'",
            ),
            (
                good.replace("ca.crt", "none.crt"),
                f"ca: expected what sipgrace keys makes: cannot read '{self.folder}/none.crt': No such file "
                "or directory",
            ),
            (
                good.replace("s.key", "ca.crt"),
                f"key: expected what sipgrace keys makes: '{self.folder}/ca.crt' holds no unencrypted "
                "private key (PEM)",
            ),
            (
                CONTROLLER + FILES.format("other"),
                "certificate: expected a certificate of s, found other in it",
            ),
        ):
            self.assertEqual(self.errors(text), [f"controllers[1].{error}"])

    def test_twice(self) -> None:
        """
        Each controller has its own name.
        """
        text = CONTROLLER + FILES.format("s")
        self.assertEqual(
            self.errors(text + text),
            [
                "controllers[2].name: expected a name that no other controller has, found 'controller-120' "
                "again"
            ],
        )

    def test_labels(self) -> None:
        """
        Labels and group.
        """
        text = SERVER + 'group = "core"\nlabels = { site = "north", "a/b" = "1" }\n'
        server = parseServer(text, self.name).server
        self.assertEqual((server.group, server.labels), ("core", {"site": "north", "a/b": "1"}))
        bad = self.errors('labels = { "a b" = "1" }\n')
        self.assertEqual(
            bad,
            [
                "server.labels: expected letters, digits, '_', '.', '/' and '-' (63 at most) as names and "
                "values of labels, found 'a b'"
            ],
        )
        many = ", ".join(f'a{number} = "1"' for number in range(33))
        self.assertEqual(
            self.errors(f"labels = {{ {many} }}\n"),
            ["server.labels: expected at most 32 labels, found 33"],
        )
        self.assertEqual(parseServer(SERVER, self.name).server.labels, {})
