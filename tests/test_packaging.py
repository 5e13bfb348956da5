"""
What is installed is what there is: the wheel has every module, the plugins, and nothing that is not ours; and
it is compiled where that can be done.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.test_imports import imported

ROOT = Path(__file__).parent.parent

#: What pip does with what C{pyproject.toml} names.
FRONTEND = "import sys; sys.path.insert(0, 'tools'); sys.dont_write_bytecode = True; import building as b; "

#: In the place of mypyc: two small extension modules, of which the second may be one that no compiler takes.
MYPYC = """
from pathlib import Path
from setuptools import Extension
def mypycify(words, **settings):
    made = []
    for name, text in ("sipgrace__mypyc", "shared"), ("sipgrace.message.parser", {text!r}):
        source = Path("build", name + ".c")
        source.parent.mkdir(exist_ok=True)
        source.write_text("#include <Python.h>\\nPyMODINIT_FUNC PyInit_%s(void) {{ return 0; }}\\n" % text)
        made.append(Extension(name, [str(source)], extra_compile_args=["-Werror"]))
    return made
"""


def modules() -> set[str]:
    """
    All that is in the wheel of an interpreted package.
    """
    page = ROOT / "sipgrace" / "controller" / "web" / "page"
    paths = [*(ROOT / "sipgrace").rglob("*.py"), *page.iterdir()]
    # Not twisted/__init__.py nor twisted/plugins/__init__.py: those would replace Twisted's own.
    own = {"sipgrace/py.typed", "twisted/plugins/sipgrace_plugins.py"}
    return {str(path.relative_to(ROOT)) for path in paths} | own


def packed(wheel: Path) -> set[str]:
    """
    All that is in a wheel but what it says about itself.
    """
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@dataclass
class Built:
    """
    What came of a build.

    @ivar status: its exit status.
    @ivar wheel: the name of the wheel, without the version in front.
    @ivar names: what is in it.
    @ivar said: what it said of compiling.
    """

    status: int
    wheel: str
    names: set[str]
    said: list[str]


class Wheel(SynchronousTestCase):
    """
    The wheel, built from a copy so that nothing is left in the tree, and without fetching anything.
    """

    def setUp(self) -> None:
        self.source = Path(self.mktemp()).absolute()
        (self.source / "tools").mkdir(parents=True)
        for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.rst", "tools/building.py"):
            shutil.copy(ROOT / name, self.source / name)
        for name in ("sipgrace", "twisted"):
            ignore = shutil.ignore_patterns("__pycache__", "*.cache", "*.so")
            shutil.copytree(ROOT / name, self.source / name, ignore=ignore)

    def call(self, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """
        Calls the backend.
        """
        inherited = {key: value for key, value in os.environ.items() if key not in ("SIPGRACE_COMPILE", "CC")}
        return subprocess.run(
            [sys.executable, "-c", FRONTEND + what],
            cwd=self.source,
            env={**inherited, **environment},
            check=False,
            capture_output=True,
            text=True,
        )

    def build(self, **environment: str) -> Built:
        """
        Builds the wheel.
        """
        shutil.rmtree(self.source / "dist", ignore_errors=True)
        done = self.call("b.build_wheel('dist')", **environment)
        wheels = list(self.source.glob("dist/*.whl"))
        names = packed(wheels[0]) if wheels else set()
        said = [line for line in done.stderr.splitlines() if "compiled" in line]
        self.assertEqual(len(wheels), int(done.returncode == 0), done.stderr)
        return Built(done.returncode, wheels[0].name.partition("-0.1.0-")[2] if wheels else "", names, said)

    def mypyc(self, text: str) -> str:
        """
        @param text: of its module.
        @return: where Python finds this in the place of mypyc.
        """
        folder = self.source / "instead"
        (folder / "mypyc").mkdir(parents=True)
        (folder / "mypyc" / "__init__.py").touch()
        (folder / "mypyc" / "build.py").write_text(text)
        return str(folder)

    def assertSaid(self, built: Built, pattern: str) -> None:
        """
        It said so in one line, which is not long.
        """
        (line,) = built.said
        self.assertRegex(line, pattern)
        self.assertLessEqual(len(line), 220)

    def compiler(self) -> None:
        """
        @raise SkipTest: when there is none.
        """
        lacking = self.call("print(b.lacking())").stdout.strip()
        if lacking:
            raise SkipTest(f"no C compiler with Python's headers: {lacking}")

    def test_noCompiler(self) -> None:
        """
        Without a compiler it is the interpreted source, for any machine, and one line says so; and mypyc is
        not fetched. All that is needed is in the source distribution.
        """
        done = self.call("b.build_sdist('sdist')")
        self.assertEqual(done.returncode, 0, done.stderr)
        (archive,) = self.source.glob("sdist/*.tar.gz")
        with tarfile.open(archive) as tar:
            # Since 3.11.4 there are filters, and later ones warn where none is given.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(self.source / "unpacked")
        (self.source,) = (self.source / "unpacked").iterdir()
        built = self.build(CC="/bin/false")
        self.assertEqual((built.status, built.wheel, built.names), (0, "py3-none-any.whl", modules()))
        why = "no C compiler that works .*/bin/false"
        self.assertSaid(built, f"sipgrace is not compiled and will run interpreted: {why}")
        done = self.call("print(b.get_requires_for_build_wheel())", CC="/bin/false")
        self.assertEqual(done.stdout.splitlines()[-1:], ["[]"], done.stderr)

    def test_lacking(self) -> None:
        """
        What is missing is said: the compiler itself, or Python's headers.
        """
        empty = self.source / "empty"
        empty.mkdir()
        for environment, text in [
            ({"PATH": str(empty)}, r"no C compiler that works \(.*No such file or directory.*\)"),
            ({"CC": str(self.headless())}, r"probe.c:1:10: fatal error: Python.h: No such file or directory"),
        ]:
            done = self.call("print(b.lacking())", **environment)
            self.assertRegex(done.stdout, rf"\A{text}\n\Z", done.stderr)

    def headless(self) -> Path:
        """
        A compiler that does not find Python's headers.
        """
        path = self.source / "cc"
        text = "probe.c:1:10: fatal error: Python.h: No such file or directory"
        path.write_text(f"#!/bin/sh\necho '{text}' >&2\necho compilation terminated. >&2\nexit 1\n")
        path.chmod(0o755)
        return path

    def test_switchedOff(self) -> None:
        """
        Nobody wants it compiled: nothing is said, and mypyc is neither fetched nor asked.
        """
        path = self.mypyc("raise SystemExit('asked')")
        self.assertEqual(
            self.build(SIPGRACE_COMPILE="0", PYTHONPATH=path), Built(0, "py3-none-any.whl", modules(), [])
        )
        done = self.call("print(b.get_requires_for_build_wheel())", SIPGRACE_COMPILE="0")
        self.assertEqual(done.stdout.splitlines()[-1:], ["[]"], done.stderr)

    def test_switchedOn(self) -> None:
        """
        Who asks for it is told when it cannot be done, and nothing is built.
        """
        built = self.build(CC="/bin/false", SIPGRACE_COMPILE="1")
        self.assertEqual((built.status, built.wheel), (1, ""))
        self.assertSaid(built, "sipgrace could not be compiled: no C compiler that works .*/bin/false")
        done = self.call("print(b.get_requires_for_build_wheel())", CC="/bin/false", SIPGRACE_COMPILE="1")
        self.assertRegex(done.stdout.splitlines()[-1], r"\A\['mypy>=.*'Twisted\[tls\]>=", done.stderr)
        done = self.call("b.build_wheel('dist')", SIPGRACE_COMPILE="yes")
        line = "SIPGRACE_COMPILE is 'yes'; 0 compiles nothing, 1 compiles or fails"
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (1, line))

    def test_mypycMissing(self) -> None:
        """
        There is a compiler, but no mypyc.
        """
        self.compiler()
        line = "sipgrace is not compiled and will run interpreted: mypyc cannot be used (not here)"
        built = self.build(PYTHONPATH=self.mypyc("raise ImportError('not here')"))
        self.assertEqual(built, Built(0, "py3-none-any.whl", modules(), [line]))

    def test_mypycFails(self) -> None:
        """
        mypyc, which ends the process when something does not fit.
        """
        self.compiler()
        line = "sipgrace is not compiled and will run interpreted: mypyc failed (1)"
        built = self.build(PYTHONPATH=self.mypyc("def mypycify(*a, **k): raise SystemExit(1)"))
        self.assertEqual(built, Built(0, "py3-none-any.whl", modules(), [line]))

    def test_compilerFails(self) -> None:
        """
        What mypyc has written cannot be compiled to its end: nothing is, and the wheel is for any machine.
        """
        self.compiler()
        path = self.mypyc(MYPYC.format(text="not C"))
        built = self.build(PYTHONPATH=path)
        self.assertEqual((built.status, built.wheel, built.names), (0, "py3-none-any.whl", modules()))
        self.assertSaid(built, r"sipgrace is not compiled and will run interpreted: \w")
        self.assertEqual(self.build(PYTHONPATH=path, SIPGRACE_COMPILE="1").status, 1)

    def test_extensions(self) -> None:
        """
        What was compiled is in the wheel, which is for this machine; what an earlier build has left is not.
        An editable install has the sources alone.
        """
        self.compiler()
        path = self.mypyc(MYPYC.format(text="parser"))
        done = self.call("b.build_editable('editable')", PYTHONPATH=path)
        self.assertEqual(done.returncode, 0, done.stderr)
        (wheel,) = self.source.glob("editable/*.whl")
        self.assertEqual([name for name in packed(wheel) if name.endswith(".so")], [])
        self.assertEqual(list(self.source.rglob("*.so")), [])
        built = self.build(PYTHONPATH=path)
        (library,) = self.source.glob("build/lib*")
        left = library / "sipgrace" / "message" / "gone.so"
        left.touch()
        again = self.build(PYTHONPATH=path)
        self.assertEqual(again, built)
        self.assertRegex(built.wheel, r"\Acp3\d+-cp3\d+-linux_\w+\.whl\Z")
        extensions = {name.partition(".")[0] for name in built.names - modules()}
        self.assertEqual(extensions, {"sipgrace__mypyc", "sipgrace/message/parser"})
        self.assertEqual((built.status, built.said, modules() - built.names), (0, [], set()))

    def test_compiled(self) -> None:
        """
        The wheel that C{make test-compiled} tests has every module, and an extension module of each that
        every message passes.
        """
        self.compiler()
        done = subprocess.run(
            [ROOT / "tools" / "compile.sh", sys.executable], check=False, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        (wheel,) = (ROOT / "build" / "compile").glob("*.whl")
        names = packed(wheel)
        hot = ast.literal_eval(self.call("print(b.HOT)").stdout)
        paths = [path for name in hot for path in ROOT.glob(f"sipgrace/{name}.py")]
        wanted = {"sipgrace__mypyc", *(str(path.relative_to(ROOT).with_suffix("")) for path in paths)}
        extensions = {name.partition(".")[0] for name in names - modules()}
        self.assertEqual(extensions, wanted)
        self.assertEqual(modules() - names, set())

    def test_types(self) -> None:
        """
        mypyc is given whatever the modules that it sees import from elsewhere.
        """
        done = self.call("print([b.HOT, b.TYPES])")
        hot, types = ast.literal_eval(done.stdout)
        todo = [path for name in hot for path in sorted((ROOT / "sipgrace").glob(f"{name}.py"))]
        seen: set[Path] = set()
        elsewhere: set[str] = set()
        while todo:
            path = todo.pop()
            if path in seen:
                continue
            seen.add(path)
            for _, name in imported(path):
                top, *rest = name.split(".")
                if top == "sipgrace":
                    found = [ROOT.joinpath(top, *rest[:length]) for length in range(1, len(rest) + 1)]
                    todo += [one.with_suffix(".py") for one in found if one.with_suffix(".py").exists()]
                elif top not in sys.stdlib_module_names:
                    elsewhere.add(top)
        given = {re.split(r"[.>\[]", one)[0].lower() for one in types}
        # pyproject.toml says that SCTP's binding has no types; OpenSSL comes with Twisted[tls].
        self.assertEqual(elsewhere - {"sctp", "_sctp", "OpenSSL"}, given)


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
