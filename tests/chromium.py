"""
Chromium without a screen, by the DevTools protocol (U{https://chromedevtools.github.io/devtools-protocol/})
over a pair of pipes.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol

__all__ = ["Browser", "Failed", "chromium"]


def chromium() -> str:
    """
    @return: the program, or nothing.
    """
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


class Failed(Exception):
    """
    What the browser, or a script in it, said was wrong.
    """


class Browser(ProcessProtocol):
    """
    One browser with one page.

    @ivar complaints: what the page wrote to its console as an error, or threw.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:
        """
        @param folder: where it keeps what it has to.
        """
        self._reactor = reactor
        self._data = b""
        self._number = 0
        self._asked: dict[int, Deferred[Any]] = {}
        self._session = ""
        self.complaints: list[str] = []
        self.ended: Deferred[None] = Deferred()
        folder.mkdir(parents=True, exist_ok=True)
        program = chromium()
        words = [
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--disable-sync",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
            # Pages of this test come from this process; as root its sandbox does not work.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        environment = {**os.environ, "HOME": str(folder), "LANG": "C.UTF-8"}
        reactor.spawnProcess(self, program, words, environment, childFDs={1: "r", 2: "r", 3: "w", 4: "r"})

    async def open(self, width: int = 1280, height: int = 800, scale: float = 1.0) -> None:
        """
        Opens its page, of that size.
        """
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.command(f"{domain}.enable")
        await self.size(width, height, scale)

    async def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """
        Gives the page that size.
        """
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )

    async def scheme(self, scheme: str) -> None:
        """
        C{dark} or C{light}.
        """
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, method: str, **params: Any) -> Deferred[Any]:
        """
        @return: fires with its result; fails with L{Failed}.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        found: Deferred[Any] = Deferred()
        self._asked[self._number] = found
        self.transport.writeToChild(3, json.dumps(message).encode() + b"\0")
        return found.addTimeout(30, IReactorTime(self._reactor))

    async def evaluate(self, script: str) -> Any:
        """
        @return: what an expression in the page comes to.
        """
        found = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise Failed(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    async def until(self, script: str) -> Any:
        """
        Waits until an expression is true in the page.
        """
        waiting = (
            "new Promise((resolve, reject) => { const began = Date.now(); const look = () => { let value;"
            f" try {{ value = ({script}); }} catch (error) {{ value = null; }}"
            " if (value) resolve(value); else if (Date.now() - began > 15000)"
            f" reject(new Error({json.dumps(script)} + ' did not come about: ' + document.body.innerText));"
            " else setTimeout(look, 30); }; look(); })"
        )
        return await self.evaluate(waiting)

    async def goTo(self, url: str) -> None:
        """
        Opens an address.
        """
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def screenshot(self, path: Path, whole: bool = True) -> None:
        """
        Takes a picture of the page.

        @param whole: of all of it, rather than of what fits.
        """
        shot = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        if childFD != 4:
            return
        *messages, self._data = (self._data + data).split(b"\0")
        for text in messages:
            self._heard(json.loads(text))

    def _heard(self, message: dict[str, Any]) -> None:
        found = self._asked.pop(message.get("id", 0), None)
        if found is not None:
            if "error" in message:
                found.errback(Failed(json.dumps(message["error"])))
            else:
                found.callback(message["result"])
            return
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str([one.get("value") for one in params["args"]]))

    def processEnded(self, reason: Any) -> None:
        """
        See C{IProcessProtocol}.
        """
        asked, self._asked = self._asked, {}
        for found in asked.values():
            found.errback(Failed("the browser has ended"))
        self.ended.callback(None)

    def close(self) -> Deferred[None]:
        """
        Ends it.
        """
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended
