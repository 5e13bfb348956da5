"""
Reads configuration files. Every mistake in a file is reported, all at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from sipgrace.config.check import checked
from sipgrace.config.client import ClientConfig
from sipgrace.config.controller import ControllerConfig
from sipgrace.config.sections import Section
from sipgrace.config.server import ServerConfig
from sipgrace.config.tables import parseTables, readText

__all__ = [
    "loadClient",
    "loadController",
    "loadServer",
    "parseClient",
    "parseController",
    "parseServer",
]

_Config = TypeVar("_Config", bound=Section)


def loadServer(path: str | Path) -> ServerConfig:
    """
    Reads a server's file.

    @raise ConfigError: naming the file, and for every mistake its key and what was expected.
    """
    return parseServer(readText(path), str(path))


def loadClient(path: str | Path) -> ClientConfig:
    """
    Reads a client's file.

    @raise ConfigError: naming the file, and for every mistake its key and what was expected.
    """
    return parseClient(readText(path), str(path))


def loadController(path: str | Path) -> ControllerConfig:
    """
    Reads a controller's file.

    @raise ConfigError: naming the file, and for every mistake its key and what was expected.
    """
    return parseController(readText(path), str(path))


def parseServer(text: str, name: str) -> ServerConfig:
    """
    As L{loadServer}, from the file's text.

    @param name: what errors call the file; relative paths in it count from its folder.
    """
    return _parse(text, name, ServerConfig)


def parseClient(text: str, name: str) -> ClientConfig:
    """
    As L{loadClient}, from the file's text.

    @param name: what errors call the file; relative paths in it count from its folder.
    """
    return _parse(text, name, ClientConfig)


def parseController(text: str, name: str) -> ControllerConfig:
    """
    As L{loadController}, from the file's text.

    @param name: what errors call the file; relative paths in it count from its folder.
    """
    return _parse(text, name, ControllerConfig)


def _parse(text: str, name: str, model: type[_Config]) -> _Config:
    return checked(parseTables(text, name), name, model)
