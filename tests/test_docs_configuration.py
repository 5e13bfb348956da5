"""
The configuration reference says what the models say.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.transport.sctp.arguments import BOUNDS

ROOT = Path(__file__).parent.parent


def generator() -> ModuleType:
    """
    C{docs/configuration.py}, which is in no package.
    """
    spec = spec_from_file_location("sipgrace_docs_configuration", ROOT / "docs" / "configuration.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reference(SynchronousTestCase):
    """
    C{docs/configuration.rst}.
    """

    def test_upToDate(self) -> None:
        """
        If this fails: python docs/configuration.py
        """
        written = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        self.assertEqual(written.splitlines(), generator().page().splitlines())

    def test_wordsOfSCTP(self) -> None:
        """
        Every word that an address of SCTP may have besides is there.
        """
        found = [line.split("=")[0].strip(" `") for line in generator().words() if "=NUMBER" in line]
        self.assertEqual(found, list(BOUNDS))

    def test_explained(self) -> None:
        """
        No key is without an explanation, and each has a kind and says what counts without it.
        """
        lines = generator().page().splitlines()
        keys = [at for at, line in enumerate(lines) if line.lstrip().startswith("``") and " -- " in line]
        self.assertGreater(len(keys), 50)
        said = r"^ *``[a-z0-9_]+`` -- .+; (required|default .+|(not set|empty) by default)$"
        for at in keys:
            self.assertRegex(lines[at], said)
            self.assertNotIn(" of ;", lines[at])
            indent = len(lines[at]) - len(lines[at].lstrip())
            self.assertRegex(lines[at + 1], rf"^ {{{indent + 4}}}[A-Z]")
            self.assertTrue(lines[at + 1].strip())
