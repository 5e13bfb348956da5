"""
The files of the page, as they lie beside this module.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from sipgrace.controller.web.problems import Rejected

__all__ = ["Files"]

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Files:
    """
    Read once, when the process starts.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, bytes, bytes]] = {}
        for one in (files("sipgrace.controller.web") / "page").iterdir():
            kind = _TYPES.get(one.name.rpartition(".")[2])
            if kind is not None:
                data = one.read_bytes()
                tag = b'"%b"' % sha256(data).hexdigest()[:16].encode("ascii")
                self._known[one.name] = (kind, data, tag)

    def answer(self, request: Any, name: str) -> bytes:
        """
        @return: that file, or nothing where the browser has it.
        """
        if name not in self._known:
            raise Rejected(404, "there is no such file")
        kind, data, tag = self._known[name]
        request.setHeader("Content-Type", kind)
        # They may be kept, and are asked for again each time: another version has others.
        request.setHeader("Cache-Control", "no-cache")
        cached = request.setETag(tag)
        return b"" if cached else data
