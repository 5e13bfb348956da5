"""
Small files that are replaced as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replaceFile"]


def replaceFile(path: Path, data: bytes) -> None:
    """
    Puts a file in the place of another: whoever reads finds the one or the other, whenever the power fails.

    @raise OSError: when it cannot be written; the old one is still there then.
    """
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
