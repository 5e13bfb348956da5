"""
What runs against what, and where the peers' programs are.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version as installed
from pathlib import Path

from interop.network import inGuest
from sipgrace import __version__

ROOT = Path(__file__).parent.parent

#: What tools/kernel/setup has unpacked, as tools/kernel/run sees it.
UNPACKED = Path(
    os.environ.get("SIPGRACE_KERNEL_HOME")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sipgrace" / "kernel"
)

#: Where the programs of the peers are below that, with their libraries; the guest finds them there by itself.
PROGRAMS = UNPACKED / "extra" / "usr"
LIBRARIES = PROGRAMS / "lib" / f"{platform.machine()}-linux-gnu"


def useUnpacked() -> None:
    """
    Has this process, and those that it starts, find the peers' programs.
    """
    for name, places in (("PATH", ["bin", "sbin"]), ("LD_LIBRARY_PATH", [LIBRARIES])):
        paths = [os.environ.get(name, ""), *(str(PROGRAMS / place) for place in places)]
        os.environ[name] = os.pathsep.join(filter(None, paths))


def _said(name: str, pattern: str, *command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return f"{name} (missing)"
    found = re.search(pattern, done.stdout + done.stderr)
    return f"{name} {found[1] if found else '?'}"


def sipp() -> str:
    """
    The SIPp there is.
    """
    return _said("SIPp", r"SIPp v([\d.]+)", "sipp", "-v")


def kamailio() -> str:
    """
    The Kamailio there is.
    """
    return _said("Kamailio", r"kamailio ([\d.]+)", "kamailio", "-v")


def baresip() -> str:
    """
    The baresip there is.
    """
    return _said("baresip", r"baresip v([\d.]+)", "baresip", "-h")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if not done.returncode else ""


def commit() -> str:
    """
    What this is, beside its version: C{", commit 0123abc of 2026-01-31"}, and whether it was changed since.
    Nothing where git does not know.
    """
    found = _git("log", "-1", "--abbrev=10", "--format=%h of %cs")
    if not found:
        return ""
    # The page is what a run changes itself.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/interop.rst")
    return f", commit {found}{', changed since' if changed else ''}"


def facts() -> list[str]:
    """
    All of it, a line each.
    """
    kernels = sorted(path.name for path in (UNPACKED / "pkg/usr/lib/uml/modules").glob("*"))
    if inGuest():
        kernels = [platform.release()]
    return [
        f"sipgrace {__version__}{commit()}",
        f"Python {platform.python_version()} with Twisted {installed('Twisted')}",
        sipp(),
        kamailio(),
        baresip(),
        f"for SCTP in the kernel, Linux {', '.join(kernels)} (User-Mode Linux), pysctp {installed('pysctp')}",
    ]
