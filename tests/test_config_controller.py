"""
A controller's file: L{sipgrace.config.controller}.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.certificates import Authority
from sipgrace.config.controller import ControllerConfig
from sipgrace.config.load import loadController, parseController
from sipgrace.errors import ConfigError
from tests.keysmade import DIGEST, makeOrderKey
from tests.test_commands_keys import makeAuthority

EXAMPLE = Path(__file__).parent.parent / "examples" / "controller.toml"

LEAST = """
[controller]
name = "c"
[links]
insecure = true
[key]
name = "c"
file = "c.order"
[store]
path = "c.sqlite"
"""


class ControllerTests(SynchronousTestCase):
    """
    Files beside keys.
    """

    maxDiff = None

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.name = str(self.folder / "c.toml")
        makeOrderKey(self.folder / "c.order")

    def parse(self, text: str) -> ControllerConfig:
        return parseController(dedent(text), self.name)

    def errors(self, text: str) -> list[str]:
        """
        What is wrong with a file.
        """
        error = self.assertRaises(ConfigError, self.parse, text)
        return [line.removeprefix(f"{self.name}: ") for line in str(error).splitlines()]

    def test_least(self) -> None:
        """
        The least that it can say, and what it means.
        """
        config = self.parse(LEAST)
        self.assertEqual(
            config.model_dump(exclude={"store", "key"}),
            {
                "controller": {"name": "c"},
                "links": {
                    "listen": "tcp:7120:interface=127.0.0.1",
                    "certificate": None,
                    "key": None,
                    "ca": None,
                    "insecure": True,
                },
                "groups": (),
                "peers": (),
                "http": {"listen": "tcp:7180:interface=127.0.0.1", "insecure": False},
                "tokens": (),
                "alerts": {"webhook": None, "after": 0.0},
                "windows": (),
                "control": None,
                "manhole": None,
            },
        )
        self.assertEqual(
            (config.store.kind, config.store.path, config.key.file),
            ("sqlite", self.folder / "c.sqlite", self.folder / "c.order"),
        )

    def test_example(self) -> None:
        """
        The example, beside the files that it names; also with what it only shows.
        """
        now = makeAuthority().now
        authority = Authority.make(self.folder / "keys", "test", 100, "p256", now)
        authority.certify("controller-120", 100, "p256", now)
        makeOrderKey(self.folder / "keys" / "controller-120.order")
        text = EXAMPLE.read_text(encoding="utf-8")
        path = self.folder / "controller.toml"
        path.write_text(text, encoding="utf-8")
        config = loadController(path)
        self.assertEqual(config.manhole, None)
        self.assertEqual([one.name for one in config.tokens], ["alice", "monitoring"])
        self.assertEqual([one.inService for one in config.groups], [None, 2])
        at = text.index("# [control]")
        path.write_text(text[:at] + text[at:].replace("# ", ""), encoding="utf-8")
        config = loadController(path)
        assert config.manhole is not None
        assert config.control is not None

    def test_links(self) -> None:
        """
        Without TLS on loopback alone; with it, with all that takes; and under its own name.
        """
        self.assertEqual(
            self.errors(LEAST.replace("insecure", 'listen = "tcp:1:interface=192.0.2.1"\ninsecure')),
            ["links.listen: expected a loopback address with insecure (127.0.0.1), found '192.0.2.1'"],
        )
        self.assertEqual(
            self.errors(LEAST.replace("insecure", 'listen = "tcp:1"\ninsecure')),
            ["links.listen: expected a loopback address with insecure (127.0.0.1), found ''"],
        )
        self.assertEqual(
            self.errors(LEAST.replace("insecure = true", 'listen = "udp:1:interface=127.0.0.1"'))[0],
            "links.listen: expected a tcp string, found 'udp:1:interface=127.0.0.1'",
        )
        self.assertEqual(
            [line.partition(":")[0] for line in self.errors(LEAST.replace("insecure = true", ""))],
            ["links.certificate", "links.key", "links.ca"],
        )
        now = makeAuthority().now
        authority = Authority.make(self.folder / "keys", "test", 100, "p256", now)
        authority.certify("other", 100, "p256", now)
        files = 'certificate = "keys/other.crt"\nkey = "keys/other.key"\nca = "keys/ca.crt"'
        self.assertEqual(
            self.errors(LEAST.replace("insecure = true", files)),
            ["links.certificate: expected a certificate of c, found other in it"],
        )

    def test_key(self) -> None:
        """
        The key is looked at, and who may read it.
        """
        (self.folder / "c.order").chmod(0o640)
        path = self.folder / "c.order"
        self.assertEqual(
            self.errors(LEAST),
            [f"key.file: expected that only the owner may read {path}: chmod 600 {path}"],
        )
        path.chmod(0o600)
        path.write_text("nothing")
        self.assertEqual(
            self.errors(LEAST),
            [
                f"key.file: expected a private key in {path} (Ed25519, as OpenSSH writes it, without a "
                "passphrase); sipgrace keys order makes one"
            ],
        )
        path.unlink()
        self.assertEqual(
            self.errors(LEAST),
            [f"key.file: expected a private key, but {path} cannot be read: No such file or directory"],
        )

    def test_store(self) -> None:
        """
        Each kind takes its own keys.
        """
        self.assertEqual(
            self.errors(LEAST.replace('path = "c.sqlite"', 'kind = "etcd"\npath = "a"')),
            [
                "store.urls: expected this key, which etcd needs, found none",
                "store.path: expected none with etcd, found one",
            ],
        )
        self.assertEqual(
            self.errors(LEAST.replace('path = "c.sqlite"', 'kind = "etcd"\nurls = ["127.0.0.1:1"]')),
            ["store.urls[1]: expected an address such as 'https://example.org/hook', found '127.0.0.1:1'"],
        )
        config = self.parse(self.etcd('urls = ["http://127.0.0.1:1", "http://[::1]:2"]'))
        self.assertEqual(config.store.urls, ("http://127.0.0.1:1", "http://[::1]:2"))
        self.assertEqual(config.store.prefix, "/sipgrace/")

    def etcd(self, text: str) -> str:
        """
        A file whose store is etcd.
        """
        return LEAST.replace('path = "c.sqlite"', f'kind = "etcd"\n{text}')

    def test_storeTrust(self) -> None:
        """
        Without TLS etcd is on loopback, unless that is said to be meant.
        """
        far = 'urls = ["http://127.0.0.1:1", "http://192.0.2.5:2379"]'
        text = "expected https, or http to a loopback address (or insecure = true), found"
        self.assertEqual(
            self.errors(self.etcd(far)), [f"store.urls[2]: {text} 'http://192.0.2.5:2379'"]
        )
        sly = 'urls = ["http://127.0.0.1:1@192.0.2.5"]'
        (found,) = self.errors(self.etcd(sly))
        self.assertEqual(found, f"store.urls[1]: {text} 'http://127.0.0.1:1@192.0.2.5'")
        self.assertTrue(self.parse(self.etcd(far + "\ninsecure = true")).store.insecure)
        self.assertEqual(
            self.errors(self.etcd('urls = ["http://127.0.0.1:1"]\nca = "ca.crt"')),
            ["store.ca: expected none without https, found one"],
        )
        self.assertEqual(
            self.errors(LEAST + 'ca = "ca.crt"\ninsecure = true\n'),
            [
                "store.ca: expected none with sqlite, found one",
                "store.insecure: expected none with sqlite, found one",
            ],
        )

    def test_storeCertificates(self) -> None:
        """
        With TLS the files are read.
        """
        now = makeAuthority().now
        authority = Authority.make(self.folder / "keys", "test", 100, "p256", now)
        for name in ("c", "d"):
            authority.certify(name, 100, "p256", now)
        tls = 'urls = ["https://etcd-1:2379"]\n'
        self.assertEqual(self.parse(self.etcd(tls)).store.ca, None)
        own = 'ca = "keys/ca.crt"\ncertificate = "keys/c.crt"\nkey = "keys/{}.key"\n'
        config = self.parse(self.etcd(tls + own.format("c")))
        self.assertEqual(config.store.ca, self.folder / "keys" / "ca.crt")
        for more, why in (
            ('key = "keys/c.key"', "store.certificate: expected this key beside key, found none"),
            ('ca = "keys/c.key"', "store.ca: expected what TLS needs: "),
            ('ca = "none"', "store.ca: expected what TLS needs: cannot read "),
            (own.format("d"), "store.certificate: expected what TLS needs: its certificate is not that of "),
        ):
            (found,) = self.errors(self.etcd(tls + more))
            self.assertTrue(found.startswith(why), found)

    def test_tables(self) -> None:
        """
        Groups, peers, tokens, the API.
        """
        token = f'[[tokens]]\nname = "a"\nrole = "viewer"\nsha256 = "{DIGEST}"\n'
        peer = '[[peers]]\nname = "{}"\nhost = "{}"\n'
        for text, errors in (
            (
                '[[groups]]\nname = "g"\n',
                ["groups[1]: expected one of away, in_service and capacity, found none"],
            ),
            (
                '[[groups]]\nname = "g"\naway = 1\n' * 2,
                ["groups[2].name: expected a name that no other group has, found 'g' again"],
            ),
            (
                token * 2,
                [
                    "tokens[2].name: expected a name that no other token has, found 'a' again",
                    "tokens[2].sha256: expected that of a token which nobody else has",
                ],
            ),
            (
                token.replace(DIGEST, "secret"),
                [
                    "tokens[1].sha256: expected 64 hexadecimal digits in lower case (sipgrace keys token "
                    "prints them)"
                ],
            ),
            (
                peer.format("c", "127.0.0.1"),
                ["peers[1].name: expected another controller, found this one, c"],
            ),
            (
                peer.format("d", "192.0.2.1"),
                ["peers[1].host: expected a loopback address with links.insecure, found '192.0.2.1'"],
            ),
            (
                '[http]\nlisten = "tcp:80"\n',
                [
                    "http.listen: expected a tls string, or a loopback interface (or insecure = true), found "
                    "'tcp:80'"
                ],
            ),
            (
                '[http]\nlisten = "udp:80:interface=127.0.0.1"\n',
                ["http.listen: expected a tls or tcp string, found 'udp:80:interface=127.0.0.1'"],
            ),
            (
                '[[windows]]\nname = "w"\ncron = "1"\ntimezone = "Mars"\n',
                [
                    "windows[1].cron: expected five fields as cron has them, such as '30 3 * * SUN', found "
                    "'1' (Wrong number of fields)",
                    "windows[1].timezone: expected a time zone such as 'Europe/Berlin', found 'Mars'",
                ],
            ),
            (
                '[[windows]]\nname = "w"\ncron = "1 2 * * *"\nservers = ["a"]\nselect = {}\n',
                ["windows[1]: expected exactly one of servers and select, found both"],
            ),
            (
                '[alerts]\nwebhook = "ftp://a"\n',
                ["alerts.webhook: expected an address such as 'https://example.org/hook', found 'ftp://a'"],
            ),
        ):
            self.assertEqual(self.errors(LEAST + text), errors)
        self.assertTrue(self.parse(LEAST + '[http]\nlisten = "tcp:80"\ninsecure = true').http.insecure)
