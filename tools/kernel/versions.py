"""
Says what the tests run on: the kernel, and what speaks SCTP on it.
"""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str:
    """
    @return: the version of a package of Python.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def debian(name: str) -> str:
    """
    @return: the version of a package of Debian.
    """
    command = ["dpkg-query", "-W", "-f", "${Version}", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout if not done.returncode and done.stdout else "missing"


if __name__ == "__main__":
    print(f"{platform.system()} {platform.release()}, Python {platform.python_version()}", end=", ")
    print(f"Twisted {installed('Twisted')}, pysctp {installed('pysctp')}", end=", ")
    print(f"libusrsctp2 {debian('libusrsctp2')}", flush=True)
