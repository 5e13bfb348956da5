"""
Has pydoctor write the pages of every module, class and function; any warning fails.

Usage: apidocs.py OUTPUT

pydoctor links to names of other packages through inventories that it would fetch. This writes one itself, of
the names of Twisted and zope.interface that our sources use; a name that does not exist is a mistake like any
other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sipgrace"
ELSEWHERE = {
    "twisted": "https://docs.twisted.org/en/stable/api/",
    "zope": "https://zopeinterface.readthedocs.io/en/latest/api/",
}
# What pydoctor is mistaken about: it does not know possessive quantifiers, which Python has since 3.11; nor
# that an interface whose bases are Twisted's is one (mypy-zope does); and help texts of the command line are
# laid out for click. What it says of docstrings it says again at the end, in sum.
HARMLESS = re.compile(
    r"Cannot colorize regular expression|Class .* is not an interface"
    r"|sipgrace/commands/\w+\.py:\d+: bad docstring: Improper paragraph indentation"
    r"|these \d+ objects' docstrings contain syntax errors:|    sipgrace\.[\w.]+\Z"
)

_LINK = re.compile(r"L\{(?:[^{}<]*<)?((?:twisted|zope)\.[\w.]+)>?\}")


def outside() -> Iterator[str]:
    """
    The full names of other packages that our sources import or link to.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield from _LINK.findall(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ELSEWHERE:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def exists(name: str) -> bool:
    """
    Whether there is such a module, class, function or method.
    """
    parts = name.split(".")
    for at in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:at]))
        except ImportError:
            continue
        for part in parts[at:]:
            if not hasattr(found, part) and part not in getattr(found, "names", lambda: ())():
                return False
            found = getattr(found, part, None)
        return True
    return False


def inventory(names: set[str]) -> bytes:
    """
    An inventory of these names, as Sphinx has it.
    """
    lines = [f"{name} py:class -1 {name}.html -" for name in sorted(names)]
    head = "# Sphinx inventory version 2\n# Project: elsewhere\n# Version: 1\n# The rest is compressed.\n"
    return head.encode() + zlib.compress("\n".join(lines).encode())


def main(output: str) -> int:
    """
    @return: the exit status.
    """
    # What is private is not linked to; the reactor is made, not found.
    names = {name for name in outside() if "._" not in name and name != "twisted.internet.reactor"}
    wrong = [f"there is no {name}" for name in sorted(names) if not exists(name)]
    with tempfile.TemporaryDirectory() as folder:
        inventories = []
        for package, url in ELSEWHERE.items():
            path = Path(folder) / f"{package}.inv"
            path.write_bytes(inventory({name for name in names if name.startswith(f"{package}.")}))
            inventories.append(f"--intersphinx-file={path}::{url}")
        command = [sys.executable, "-m", "pydoctor", "--quiet", "--project-name=sipgrace", *inventories]
        command += [f"--project-base-dir={ROOT}", "--docformat=epytext", f"--html-output={output}"]
        done = subprocess.run([*command, str(PACKAGE)], capture_output=True, text=True, check=False)
    wrong += [line for line in done.stdout.splitlines() if not HARMLESS.search(line)]
    for line in wrong:
        print(line)
    print(done.stderr, end="", file=sys.stderr)
    # 2: a docstring was laid out wrongly, which was said above unless it is harmless.
    return 1 if wrong or done.returncode not in (0, 2) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
