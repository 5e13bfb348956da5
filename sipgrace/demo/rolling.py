"""
A rolling maintenance of all servers, by order of the controller, and what the servers themselves have of it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sipgrace.demo.api import NotReached
from sipgrace.demo.children import DemoError
from sipgrace.demo.files import auditOf, maintainedOf
from sipgrace.demo.network import Network
from sipgrace.demo.plan import CONTROLLERS, SERVERS, Member, Plan

__all__ = ["Course", "Rolling", "Turn"]

#: Seconds between two looks at how the controller says that it stands.
LOOK: Final = 0.2

#: Seconds that one server may take, beyond twice the guard, and that a controller may be silent.
TURN: Final = 60.0
SILENCE: Final = 60.0

#: The controller is killed when the second server tells that it drains, and when the third is offline: while
#: it is worked at.
_DEATHS: Final = ((SERVERS[1], "draining", "draining"), (SERVERS[2], "offline", "maintaining"))

#: Seconds for which the controller is dead.
DEAD: Final = 1.0


@dataclass(slots=True)
class Turn:
    """
    What one server has of it, by its own audit log and that of its work.

    @ivar drains: how many orders to drain it obeyed; C{resumes} how many to resume.
    @ivar maintained: how often its work was done.
    """

    drains: int = 0
    resumes: int = 0
    maintained: int = 0

    @property
    def once(self) -> bool:
        """
        Whether all was done once.
        """
        return self.drains == self.resumes == self.maintained == 1


@dataclass(slots=True)
class Course:
    """
    How it went.

    @ivar progress: where the controller says that it stands; C{text} a word about it.
    @ivar took: seconds from its beginning to its end.
    @ivar turns: by server.
    @ivar deaths: how often the controller was to be killed.
    @ivar killed: at which moments it was.
    """

    progress: str = ""
    text: str = ""
    took: float | None = None
    turns: dict[str, Turn] = field(default_factory=dict)
    deaths: int = 0
    killed: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """
        Whether every server was drained, maintained and brought back once.
        """
        return (
            self.progress == "done"
            and self.turns.keys() == {server.name for server in SERVERS}
            and all(turn.once for turn in self.turns.values())
            and len(self.killed) == self.deaths
        )

    def toJSON(self) -> dict[str, Any]:
        """
        @return: for C{json.dumps}.
        """
        return {
            "progress": self.progress,
            "text": self.text,
            "took_s": None if self.took is None else round(self.took, 3),
            "controller_killed": list(self.killed),
            "servers": {
                name: {"drains": turn.drains, "maintained": turn.maintained, "resumes": turn.resumes}
                for name, turn in self.turns.items()
            },
        }


class Rolling:
    """
    Has it done.

    @ivar course: how it goes.
    @ivar onStep: called with one line for each thing that happens.
    """

    def __init__(self, reactor: Any, plan: Plan, network: Network) -> None:
        self._reactor = reactor
        self._plan = plan
        self._network = network
        self._steps: dict[str, str] = {}
        self._deaths = list(_DEATHS) if plan.killController else []
        self._dying: list[Deferred[None]] = []
        self.course = Course(deaths=len(self._deaths))
        self.onStep: Callable[[str], None] = lambda text: None

    async def run(self) -> None:
        """
        Has it begun, and waits for its end.

        @raise DemoError: when it does not come to an end.
        """
        plan, api = self._plan, self._network.apis[CONTROLLERS[0]]
        began = heard = time.monotonic()
        until = began + len(SERVERS) * (2 * plan.guard + TURN)
        record = await api.post(
            "rollings", select={}, atOnce=1, settle=plan.settle, guard=plan.guard, why="demo", then="run"
        )
        path = f"rollings/{record['id']}"
        self.onStep(f"{CONTROLLERS[0].name} begins a rolling maintenance of {len(record['servers'])} servers")
        while record["progress"] in ("running", "paused"):
            self._look(record)
            await deferLater(self._reactor, LOOK)
            self._network.check()
            now = time.monotonic()
            if now > until:
                raise DemoError(f"the rolling maintenance has not ended after {now - began:.0f} seconds")
            try:
                record = await api.get(path)
                heard = now
            except NotReached:
                # It is being started.
                if not self.course.killed or now - heard > SILENCE:
                    raise
        self._look(record)
        await gatherResults(self._dying)
        course = self.course
        course.progress, course.text = record["progress"], record["text"]
        course.took = time.monotonic() - began
        course.turns = {server.name: self._turnOf(server) for server in SERVERS}
        self.onStep(f"the rolling maintenance is {course.progress}{': ' if course.text else ''}{course.text}")

    def _look(self, record: dict[str, Any]) -> None:
        for server in record["servers"]:
            step = record["steps"][server]
            if self._steps.get(server, "waiting") != step and step in ("settling", "done", "trouble"):
                self.onStep(f"{CONTROLLERS[0].name}: {server} is {step}")
            self._steps[server] = step

    def happened(self, server: Member, change: str) -> None:
        """
        A server tells what happened to it.
        """
        if self._deaths and (server, change) == self._deaths[0][:2]:
            step = self._deaths.pop(0)[2]
            self.course.killed.append(f"{server.name} {step}")
            self._dying.append(Deferred.fromCoroutine(self._kill(f"{server.name} {step}")))

    async def _kill(self, moment: str) -> None:
        name = CONTROLLERS[0].name
        self.onStep(f"{name} is killed, with {moment}")
        await self._network.restart(CONTROLLERS[0], DEAD)
        self.onStep(f"{name} is started again")

    def _turnOf(self, server: Member) -> Turn:
        kinds: Counter[str] = Counter()
        for line in auditOf(self._plan, server).read_text(encoding="utf-8").splitlines():
            facts = json.loads(line)
            if facts["what"] == "obeyed" and facts["source"] == "link":
                kinds[facts["order"]["kind"]] += 1
        try:
            work = maintainedOf(self._plan).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            work = []
        return Turn(kinds["drain"], kinds["resume"], work.count(server.name))
