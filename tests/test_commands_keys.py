"""
C{sipgrace keys}: the CA, certificates, order keys and tokens.
"""

from __future__ import annotations

import atexit
import datetime
import os
import shutil
import stat
import tempfile
import tomllib
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.certificates import Authority
from sipgrace.commands.main import sipgrace
from sipgrace.config.load import parseServer
from sipgrace.transport.peernames import linkOptions, namesOf
from tests.test_config import SERVER


@cache
def makeAuthority() -> Any:
    """
    One CA for all tests, in a folder of its own.
    """
    folder = tempfile.mkdtemp(prefix="sipgrace-ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    now = datetime.datetime.now(datetime.UTC)
    authority: Any = Authority.make(Path(folder), "test", 100, "p256", now)
    authority.now = now
    return authority


class KeysTests(SynchronousTestCase):
    """
    The verbs.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def run_(self, *words: str, status: int = 0) -> str:
        """
        What a verb writes; on standard error where it fails.
        """
        result = CliRunner().invoke(sipgrace, ["keys", *words], catch_exceptions=False)
        self.assertEqual(result.exit_code, status, result.output)
        return result.output

    def made(self, verb: str, *words: str, status: int = 0) -> str:
        return self.run_(verb, *words, "--dir", str(self.folder), status=status)

    def mode(self, name: str) -> int:
        return stat.S_IMODE(os.stat(self.folder / name).st_mode)

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / name).read_bytes())

    def test_certificates(self) -> None:
        """
        A CA and what it signs: a name, for both ends of a link, of the kind that was asked for.
        """
        for algorithm in ("p256", "ed25519"):
            self.folder = Path(self.mktemp()).absolute()
            umask = os.umask(0)
            self.addCleanup(os.umask, umask)
            self.made("init", "--algorithm", algorithm, "--name", "Our CA")
            self.made("node", "server-102", "--algorithm", algorithm, "--days", "3")
            ca, own = self.certificate("ca.crt"), self.certificate("server-102.crt")
            own.verify_directly_issued_by(ca)
            self.assertEqual(ca.subject.rfc4514_string(), "CN=Our CA")
            self.assertTrue(ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
            self.assertFalse(own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
            self.assertEqual(namesOf(own), ["server-102"])
            usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            self.assertEqual(
                set(usage), {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
            )
            self.assertEqual(own.not_valid_after_utc - own.not_valid_before_utc, datetime.timedelta(3, 3600))
            self.assertEqual(
                [self.mode(name) for name in ("ca.key", "server-102.key", "ca.crt")], [0o600, 0o600, 0o644]
            )
            linkOptions(*(self.folder / name for name in ("server-102.crt", "server-102.key", "ca.crt")))

    def test_printed(self) -> None:
        """
        The lines that are printed are those of a configuration.
        """
        self.made("init")
        files = self.made("node", "s")
        keys = self.made("order", "controller-120", "--role", "admin")
        at = keys.index("# In that of each server")
        text = f'{SERVER}[orders]\naudit = "a"\n{keys[at:]}[[controllers]]\nname = "c"\nhost = "h"\n{files}'
        config = parseServer(text, "s.toml")
        self.assertEqual((config.orders.keys[0].role, config.controllers[0].name), ("admin", "c"))
        key = tomllib.loads(keys[:at])["key"]
        self.assertEqual(key["name"], "controller-120")
        private = load_ssh_private_key(Path(key["file"]).read_bytes(), None)
        assert isinstance(private, Ed25519PrivateKey)
        self.assertEqual(
            private.public_key().public_bytes_raw(), config.orders.keys[0].public.public_bytes_raw()
        )
        modes = [self.mode(f"controller-120.order{end}") for end in ("", ".pub")]
        self.assertEqual(modes, [0o600, 0o644])

    def test_token(self) -> None:
        """
        A token, and what it is recognized by.
        """
        printed = self.run_("token", "alice", "--role", "viewer")
        token = printed.split("\n", 1)[0]
        (entry,) = tomllib.loads(printed[printed.index("#") :])["tokens"]
        self.assertEqual(
            entry, {"name": "alice", "role": "viewer", "sha256": sha256(token.encode()).hexdigest()}
        )
        self.assertNotEqual(token, self.run_("token", "alice").split("\n", 1)[0])

    def test_nothingIsOverwritten(self) -> None:
        """
        Files that are there stay as they are, also where only one of two is.
        """
        self.made("init")
        self.made("node", "a")
        self.made("order", "a")
        (self.folder / "b.crt").write_text("mine")
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        for words in (("init",), ("node", "a"), ("node", "b"), ("order", "a")):
            self.assertIn(
                "is there already, and nothing is ever overwritten", self.made(*words, status=1), words
            )
        self.assertEqual({path.name: path.read_bytes() for path in self.folder.iterdir()}, before)

    def test_renewed(self) -> None:
        """
        A further certificate of the same name, in another folder.
        """
        self.made("init")
        self.made("node", "a")
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        self.assertIn(f'certificate = "{other}/a.crt"', self.made("node", "a", "--to", str(other)))
        self.assertNotEqual((other / "a.crt").read_bytes(), (self.folder / "a.crt").read_bytes())
        linkOptions(other / "a.crt", other / "a.key", self.folder / "ca.crt")

    def test_refused(self) -> None:
        """
        What cannot be is said in one line.
        """
        for words, text in (
            (("node", "a"), "No such file or directory; sipgrace keys init makes a CA"),
            (("order", "a"), "a.order cannot be written: No such file or directory"),
            (("order", "../a"), "found '../a'"),
            (("order", ".a"), "found '.a'"),
        ):
            said = self.made(*words, status=1)
            self.assertIn(text, said)
            self.assertEqual(said.count("\n"), 1)
        self.assertIn("found 'a b'", self.run_("token", "a b", status=1))
        self.made("init")
        self.assertIn("ca is the name of the CA's own files", self.made("node", "ca", status=1))
        self.assertIn("found 'a/b'", self.made("node", "a/b", status=1))
        (self.folder / "ca.key").write_text("no key")
        self.assertIn("holds no CA of sipgrace keys", self.made("node", "c", status=1))

    def test_help(self) -> None:
        """
        Each verb says what it is for.
        """
        said = self.run_("--help")
        for verb in ("init", "node", "order", "token"):
            self.assertIn(f"sipgrace keys {verb}", said)
            self.assertIn("Makes ", self.run_(verb, "--help"))
