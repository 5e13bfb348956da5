"""
From a file to the tables that stand in it, before anything is known of what they mean.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sipgrace.errors import ConfigError

__all__ = ["parseTables", "readTables", "readText"]


def readText(path: str | Path) -> str:
    """
    @raise ConfigError: where it cannot be read, or is not UTF-8.
    """
    try:
        # Some editors put a byte order mark at the beginning.
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8, found another byte at offset {error.start}") from None


def parseTables(text: str, name: str) -> dict[str, Any]:
    """
    @param name: what errors call the file.
    @raise ConfigError: for what is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: expected TOML: {error}") from None


def readTables(path: str | Path) -> dict[str, Any]:
    """
    Both.
    """
    return parseTables(readText(path), str(path))
