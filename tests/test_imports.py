"""
Who may import whom: each room of the house depends only on those beneath it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent

# Each level may import those after it; rooms of one level do not import each other, except for the first.
LEVELS: list[list[str]] = [
    ["tap", "commands", "demo", "workers"],
    ["server", "client", "controller"],
    # What a running server and a running client are both made of.
    ["element", "console", "oversight"],
    ["proxy", "control", "config", "lifecycle", "metrics"],
    ["transport", "transaction"],
    ["message"],
    ["interfaces", "errors", "compiled"],
]
# What the levels alone would not allow.
ALSO = {
    ("console", "element"),
    ("element", "oversight"),
    # One level in the design.
    ("proxy", "lifecycle"),
    ("control", "lifecycle"),
    ("interfaces", "errors"),
}
# The public fakes stand for the rooms beneath the roles.
OUTSIDE = {"testing"}
# Where the global reactor may be imported. Elsewhere it is handed in.
REACTOR = {"tap", "commands"}


def modules() -> Iterator[Path]:
    """
    Every module of the package.
    """
    yield from sorted((ROOT / "sipgrace").rglob("*.py"))


def room(path: Path) -> str:
    """
    The room that a module stands in: the first name below the package.
    """
    return path.relative_to(ROOT / "sipgrace").with_suffix("").parts[0]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """
    What a module imports, wherever in it: line and full dotted name.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            # A relative import would hide its room, and is reported as what it is.
            for alias in node.names:
                yield node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def allowed(importer: str, target: str) -> bool:
    """
    Whether a module of the one room may import from the other.
    """
    level = {name: at for at, names in enumerate(LEVELS) for name in names}
    if importer == target or importer in OUTSIDE or (importer, target) in ALSO:
        return True
    if importer not in level or target not in level:
        return False
    return level[importer] < level[target] or level[importer] == level[target] == 0


class Imports(SynchronousTestCase):
    """
    The rooms of the package.
    """

    maxDiff = None

    def test_rooms(self) -> None:
        """
        Data flows one way, and so do imports.
        """
        known = {name for names in LEVELS for name in names} | OUTSIDE | {"__init__"}
        wrong: list[str] = []
        seen = 0
        for path in modules():
            importer = room(path)
            place = path.relative_to(ROOT)
            if importer not in known:
                wrong.append(f"{place}: {importer} is no room of this house")
            for line, name in imported(path):
                if name.startswith("."):
                    wrong.append(f"{place}:{line}: relative import of {name}")
                elif name.startswith("sipgrace.") and name != "sipgrace.__version__":
                    seen += 1
                    target = name.split(".")[1]
                    if not allowed(importer, target):
                        wrong.append(f"{place}:{line}: {importer} may not import {target} ({name})")
        self.assertEqual(wrong, [])
        self.assertGreater(seen, 50)

    def test_reactor(self) -> None:
        """
        The global reactor belongs to whoever starts the process.
        """
        found: dict[str, list[str]] = {}
        for path in modules():
            for line, name in imported(path):
                if name == "twisted.internet.reactor":
                    found.setdefault(room(path), []).append(f"{path.relative_to(ROOT)}:{line}")
        self.assertEqual([places for name, places in found.items() if name not in REACTOR], [])
        self.assertIn("tap", found)

    def test_rule(self) -> None:
        """
        The rule itself: some of what it allows and forbids.
        """
        for importer, target in [
            ("tap", "server"),
            ("demo", "commands"),
            ("server", "message"),
            ("proxy", "transaction"),
            ("transport", "errors"),
            ("testing", "transport"),
        ]:
            self.assertTrue(allowed(importer, target), (importer, target))
        for importer, target in [
            ("server", "client"),
            ("server", "tap"),
            ("transport", "transaction"),
            ("transaction", "transport"),
            ("message", "transaction"),
            ("server", "testing"),
            ("errors", "interfaces"),
            ("lifecycle", "proxy"),
        ]:
            self.assertFalse(allowed(importer, target), (importer, target))

    def test_packages(self) -> None:
        """
        A package's own file holds its docstring, and no code (the topmost, the version too).
        """
        for path in modules():
            if path.name == "__init__.py":
                docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
                self.assertIsInstance(docstring, ast.Expr, path)
                names = [ast.unparse(one.targets[0]) for one in rest if isinstance(one, ast.Assign)]
                top = path.parent.name == "sipgrace"
                self.assertEqual((len(rest), names), (1, ["__version__"]) if top else (0, []), path)
