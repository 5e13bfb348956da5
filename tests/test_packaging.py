"""
What is installed is what there is: the wheel has every module, the plugins, and nothing that is not ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


class Wheel(SynchronousTestCase):
    """
    The wheel, built from a copy so that nothing is left in the tree.
    """

    def test_contents(self) -> None:
        source = Path(self.mktemp()).absolute()
        source.mkdir(parents=True)
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, source)
        for name in ("sipgrace", "twisted"):
            ignore = shutil.ignore_patterns("__pycache__", "*.cache", "*.so")
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        command = [sys.executable, "setup.py", "--quiet", "bdist_wheel"]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        (wheel,) = (source / "dist").iterdir()
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / "sipgrace").rglob("*.py")}
        # Not twisted/__init__.py nor twisted/plugins/__init__.py: those would replace Twisted's own.
        page = ROOT / "sipgrace" / "controller" / "web" / "page"
        modules |= {str(path.relative_to(ROOT)) for path in page.iterdir()}
        self.assertEqual(names, {*modules, "sipgrace/py.typed", "twisted/plugins/sipgrace_plugins.py"})


class Plugins(SynchronousTestCase):
    """
    What Twisted finds.
    """

    def test_found(self) -> None:
        """
        Both roles and both parsers are found from anywhere, beside Twisted's own; finding them neither
        installs a reactor nor loads an SCTP stack.
        """
        program = (
            "import sys\n"
            "from twisted.application.service import IServiceMaker\n"
            "from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor as Client\n"
            "from twisted.internet.interfaces import IStreamServerEndpointStringParser as Server\n"
            "from twisted.plugin import getPlugins\n"
            "print(sorted(one.tapname for one in getPlugins(IServiceMaker) if one.tapname in\n"
            "    ('sipgrace-server', 'sipgrace-client', 'web')))\n"
            "for parser, own in (Server, 'systemd'), (Client, 'tls'):\n"
            "    print(sorted(one.prefix for one in getPlugins(parser) if one.prefix in ('sctp', own)))\n"
            "print([name for name in ('twisted.internet.reactor', 'cffi', 'sctp') if name in sys.modules])\n"
        )
        # What is installed counts, not what lies in the working directory.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd="/",
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        self.assertEqual(
            done.stdout.splitlines(),
            ["['sipgrace-client', 'sipgrace-server', 'web']", "['sctp', 'systemd']", "['sctp', 'tls']", "[]"],
            done.stderr,
        )
