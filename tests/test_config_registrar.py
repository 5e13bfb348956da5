"""
The registrar in a client's file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.digest import credentials
from sipgrace.client.registering import credentialsOf
from sipgrace.config.load import parseClient
from sipgrace.config.registrar import Account, RegistrarSection
from sipgrace.errors import ConfigError
from tests.test_config import CLIENT

HA1 = {
    name: maker(b"alice:example.org:secret").hexdigest()
    for name, maker in (("ha1_sha256", hashlib.sha256), ("ha1_md5", hashlib.md5))
}

ALICE = '[[registrar.accounts]]\nuser = "alice"\npassword = "secret"\n'


class RegistrarSectionTests(SynchronousTestCase):
    """
    What it may say, and how mistakes in it are reported.
    """

    def section(self, accounts: str = ALICE, more: str = "") -> RegistrarSection:
        text = (
            f'{CLIENT}[registrar]\ndatabase = "users.sqlite"\ndomains = ["Example.org"]\n{more}\n{accounts}'
        )
        found = parseClient(text, "etc/c.toml").registrar
        assert found is not None
        return found

    def mistakes(self, accounts: str = ALICE, more: str = "") -> list[str]:
        error = self.assertRaises(ConfigError, self.section, accounts, more)
        return [line.removeprefix("etc/c.toml: ") for line in str(error).splitlines()]

    def test_defaults(self) -> None:
        section = self.section()
        self.assertEqual(section.database, Path("etc/users.sqlite").absolute())
        self.assertEqual((section.domains, section.realm), (("example.org",), None))
        self.assertEqual(section.algorithms, ("SHA-256", "MD5"))
        self.assertEqual(
            (section.shortest, section.usual, section.longest, section.most), (60, 3600, 7200, 10)
        )
        (account,) = section.accounts
        self.assertEqual((account.user, account.password, account.algorithms), ("alice", "secret", None))

    def test_accounts(self) -> None:
        self.assertEqual(
            self.mistakes(ALICE + ALICE),
            ["registrar.accounts[2].user: expected a user that no other account has, found 'alice' again"],
        )
        either = "expected either a password, or ha1_sha256 or ha1_md5 or both"
        both = f'{ALICE}ha1_md5 = "{HA1["ha1_md5"]}"\n'
        for accounts in ('[[registrar.accounts]]\nuser = "alice"\n', both):
            self.assertEqual(self.mistakes(accounts), [f"registrar.accounts[1].password: {either}"])
        self.assertEqual(
            self.mistakes('[[registrar.accounts]]\nuser = "a"\nha1_md5 = "secret"\nha1_sha256 = "0g"\n'),
            [
                "registrar.accounts[1].ha1_sha256: expected 64 hexadecimal digits, found 2 characters",
                "registrar.accounts[1].ha1_md5: expected 32 hexadecimal digits, found 6 characters",
            ],
        )
        only = f'[[registrar.accounts]]\nuser = "a"\nha1_md5 = "{HA1["ha1_md5"]}"\nalgorithms = ["SHA-256"]\n'
        self.assertEqual(
            self.mistakes(only),
            [
                "registrar.accounts[1].algorithms[1]: expected one of which the ha1 is given, "
                "found 'SHA-256'",
            ],
        )

    def test_periods(self) -> None:
        self.assertEqual(
            self.mistakes(more="usual = 30"),
            ["registrar.usual: expected from shortest to longest, which are 60 and 7200, found 30"],
        )

    def test_domains(self) -> None:
        error = self.assertRaises(
            ConfigError,
            parseClient,
            f'{CLIENT}[registrar]\ndatabase = "x"\ndomains = ["a.example", "*"]\n{ALICE}',
            "c",
        )
        self.assertIn(
            "registrar.domains[2]: expected a domain, found '*': nobody can register everywhere", str(error)
        )

    def test_realm(self) -> None:
        self.assertEqual(self.section(more='realm = "our users"').realm, "our users")
        (text,) = self.mistakes(more="realm = 'our \"users\"'")
        self.assertTrue(text.startswith("registrar.realm: expected a text without quotes"), text)

    def offered(self, account: str, more: str = "") -> dict[bytes, bytes]:
        """
        The hashes by which an account is known, in the order in which their algorithms are offered.
        """
        section = self.section(f'[[registrar.accounts]]\nuser = "alice"\n{account}\n', more)
        (found,) = section.accounts
        self.assertIsInstance(found, Account)
        return dict(credentialsOf(found, b"example.org", section.algorithms).ha1)

    def test_credentials(self) -> None:
        """
        A password and its hashes come to the same; what is offered is of the account, or else of the section.
        """
        hashes = {b"SHA-256": HA1["ha1_sha256"].encode(), b"MD5": HA1["ha1_md5"].encode()}
        both = "\n".join(f'{name} = "{value.upper()}"' for name, value in HA1.items())
        md5 = f'ha1_md5 = "{HA1["ha1_md5"]}"'
        for account, more, names in (
            ('password = "secret"', "", [b"SHA-256", b"MD5"]),
            ('password = "secret"', 'algorithms = ["MD5"]', [b"MD5"]),
            ('password = "secret"\nalgorithms = ["MD5", "SHA-256"]', "", [b"MD5", b"SHA-256"]),
            (both, "", [b"SHA-256", b"MD5"]),
            (both, 'algorithms = ["MD5"]', [b"MD5"]),
            (both + '\nalgorithms = ["SHA-256"]', 'algorithms = ["MD5"]', [b"SHA-256"]),
            (md5, "", [b"MD5"]),
            (md5, 'algorithms = ["SHA-256"]', [b"MD5"]),
        ):
            found = self.offered(account, more)
            self.assertEqual(list(found), names, (account, more))
            self.assertEqual(found, {name: hashes[name] for name in names})
        known = credentials(b"alice", b"example.org", b"secret", list(hashes))
        self.assertEqual(known.ha1, hashes)
