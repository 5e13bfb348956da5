"""
How the package is built: by setuptools, and with what every message passes compiled by mypyc where there is a
C compiler (docs/installation.rst). It is the same source either way.

This is the backend that C{pyproject.toml} names (PEP 517), so that pip fetches mypyc only where it can be
used; the rest is for C{setup.py}. The environment's C{SIPGRACE_COMPILE} has the last word: C{0} compiles
nothing, with C{1} it is an error when that cannot be done; else one line says why it was not.

Nothing is compiled for an editable install: the extension modules would lie beside the sources, and be
imported in their place whatever is changed there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

__all__ = [
    "CHECKS",
    "COMMANDS",
    "HOT",
    "build_editable",
    "build_sdist",
    "build_wheel",
    "extensions",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

HERE = Path(__file__).parent.parent

#: What every message passes.
HOT = [
    *("message/[!_]*", "transaction/[!_]*"),
    *("proxy/acked", "proxy/best", "proxy/branch", "proxy/checks", "proxy/context"),
    *("proxy/copies", "proxy/core", "proxy/ghost", "proxy/glance", "proxy/kept"),
    *("proxy/lookup", "proxy/pace", "proxy/priority", "proxy/routes", "proxy/target", "proxy/trail"),
    *("transport/datagrams", "transport/intake", "transport/udp"),
    *("server/clients", "server/role", "server/routing", "server/rules", "lifecycle/ledger"),
]

#: mypy-zope follows mypy's releases one by one, so the two are held together.
CHECKS = ["mypy>=1.15", "mypy-zope>=1.0.11"]

#: Where the types come from that mypyc needs to know, in an environment that has nothing else.
TYPES = ["Twisted[tls]>=26.4", "zope.interface>=7", "cffi>=1.17", "mypy_extensions>=1"]

#: The commands of setuptools that compile. Asking mypyc takes a while, which the others need not wait for.
BUILDING = {"bdist_wheel", "build", "build_ext", "install"}

#: An extension module, to see whether one can be made here.
PROBE = """
from setuptools import Extension, setup
words = ["--quiet", "build_ext", "--build-lib", ".", "--build-temp", "."]
setup(name="probe", script_args=words, ext_modules=[Extension("probe", ["probe.c"])])
"""


def switch() -> str:
    """
    @return: what the environment says: C{"0"}, C{"1"}, or the empty string.
    @raise SystemExit: when it says anything else.
    """
    said = os.environ.get("SIPGRACE_COMPILE", "")
    if said not in ("", "0", "1"):
        raise SystemExit(f"SIPGRACE_COMPILE is {said!r}; 0 compiles nothing, 1 compiles or fails")
    return said


def lacking() -> str:
    """
    @return: why no extension module can be made here, or the empty string.
    """
    with TemporaryDirectory() as folder:
        source = "#include <Python.h>\nPyMODINIT_FUNC PyInit_probe(void) { return 0; }\n"
        Path(folder, "probe.c").write_text(source, encoding="ascii")
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            cwd=folder,
            # In words that are looked for below.
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
        )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
    # What is missing, Python's headers for one, the compiler says before setuptools says that it has failed.
    fatal = next((line for line in lines if "fatal error:" in line), "")
    return fatal or f"no C compiler that works ({lines[-1].removeprefix('error: ')})"


def interpreted(why: object) -> None:
    """
    Says in one line that nothing is compiled, unless that is an error.

    @param why: an exception that is being handled, or a text.
    @raise SystemExit: where all has to be compiled.
    """
    # setuptools may quote the whole command.
    text = shorten(str(why), 160, placeholder=" ...") or type(why).__name__
    if switch() == "1":
        raise SystemExit(f"sipgrace could not be compiled: {text}")
    print(f"sipgrace is not compiled and will run interpreted: {text}", file=sys.stderr, flush=True)


def extensions() -> list[Any]:
    """
    @return: the extension modules, for the command that setuptools was given: none where nothing is built,
        where it cannot be compiled, and where nobody wants that.
    """
    if switch() == "0" or not BUILDING.intersection(sys.argv):
        return []
    why = lacking()
    if why:
        interpreted(why)
        return []
    paths = [str(path) for name in HOT for path in sorted(HERE.glob(f"sipgrace/{name}.py"))]
    settings = ["--config-file", str(HERE / "pyproject.toml")]
    try:
        from mypyc.build import mypycify

        modules: list[Any] = mypycify(
            settings + paths, opt_level="2", debug_level="0", group_name="sipgrace"
        )
    except ImportError as error:
        interpreted(f"mypyc cannot be used ({error})")
        return []
    except (Exception, SystemExit) as error:
        # It has printed what does not fit, and ends with a status.
        interpreted(f"mypyc failed ({error})")
        return []
    for one in modules:
        # What a newer compiler warns of is no reason to go without.
        one.extra_compile_args = [word for word in one.extra_compile_args if word != "-Werror"]
    return modules


class BuildExtensions(build_ext):
    """
    All extension modules, or none.
    """

    def run(self) -> None:
        """
        See C{Command}.
        """
        made = {Path(path) for path in self.get_outputs()}
        # What an earlier build made of a module that has gone would go into the wheel.
        for path in [*Path(self.build_lib).glob("*.so"), *Path(self.build_lib, "sipgrace").rglob("*.so")]:
            if path not in made:
                path.unlink()
        try:
            super().run()
        except Exception as error:
            for path in made:
                path.unlink(missing_ok=True)
            self.extensions = []
            self.distribution.ext_modules = []
            interpreted(error)


class Wheel(bdist_wheel):
    """
    A wheel for one version of Python and one kind of machine where it has extension modules, for all where it
    has none.
    """

    def run(self) -> None:
        """
        See C{Command}.
        """
        if not self.skip_build:
            self.run_command("build")
            # Only now is it known.
            self.root_is_pure = not self.distribution.has_ext_modules()
            self.skip_build = True
        super().run()


#: For C{setup}.
COMMANDS = {"build_ext": BuildExtensions, "bdist_wheel": Wheel}


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """
    What is fetched before a wheel is built: see PEP 517.
    """
    needed: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    if switch() == "1" or (switch() == "" and not lacking()):
        needed += CHECKS + TYPES
    return needed
