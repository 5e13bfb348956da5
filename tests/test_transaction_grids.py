"""
Every cell of the grids drawn above the four machines, over unreliable and reliable transports: the grid
is the table of what is expected, and the cells are what is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.derive import respond
from sipgrace.transaction import inviteclient, inviteserver, noninviteclient, noninviteserver
from tests.fakes import Rig, makeResponse, readGrids, stateNames

Step = Callable[[Rig, Any], object]


def sourceOf(module: ModuleType) -> str:
    """
    Its text, of a compiled module, too.
    """
    assert module.__file__ is not None
    return (Path(module.__file__).parent / f"{module.__name__.rpartition('.')[2]}.py").read_text("utf-8")


def answer(status: int) -> Step:
    def step(rig: Rig, machine: Any) -> None:
        # No two are alike, so that what is new can be told from what is sent again.
        reason = b"Number %d" % len(rig.association.sent)
        machine.respond(respond(original(rig), status, reason))

    return step


def unsent(status: int) -> Step:
    def step(rig: Rig, machine: Any) -> None:
        rig.association.up = False
        answer(status)(rig, machine)
        rig.association.up = True

    return step


def arrive(status: int) -> Step:
    return lambda rig, machine: rig.receive(makeResponse(original(rig), status))


def again(method: bytes) -> Step:
    return lambda rig, machine: rig.receive(rig.makeRequest(method))


def call(name: str) -> Step:
    return lambda rig, machine: getattr(machine, name)()


def lose(rig: Rig, machine: Any) -> None:
    rig.layer.associationLost(rig.association)


def original(rig: Rig) -> Any:
    return rig.makeRequest(rig.method)


class GridCase:
    """
    What the tests of the four grids share.

    @cvar module: the machine's.
    @cvar method: of the request that it is about.
    @cvar states: the steps that lead to each state.
    @cvar inputs: each input, and the status that it is about.
    @cvar unreachable: the states that a reliable transport does not know.
    @cvar table: the table of the layer in which it is found.
    """

    module: ModuleType
    method: bytes
    states: dict[str, list[Step]]
    inputs: dict[str, tuple[int, Step]]
    unreachable: set[str]
    table: str

    def start(self, rig: Rig) -> Any:
        raise NotImplementedError

    def stateOf(self, machine: Any) -> str:
        state = stateNames(self.module)[machine.state]
        if hasattr(machine, "abandon") and state not in ("Completed", "Terminated"):
            if machine.user is None:
                state += "/a"
            elif getattr(machine, "_cancel", 0) and state != "Accepted":
                state += "/c"
        return state

    def put(self, state: str, reliable: bool) -> tuple[Rig, Any]:
        rig = Rig(reliable)
        rig.method = self.method
        machine = self.start(rig)
        for step in self.states[state]:
            step(rig, machine)
        rig.clear()
        rig.timers.watched = machine
        return rig, machine

    def expected(self, cell: list[str], state: str, status: int, reliable: bool) -> tuple[list[str], str]:
        """
        A cell, put as what the journal will hold and the state afterwards.
        """
        events = []
        other = "*" if reliable else "+"
        for word in (each.rstrip("*+") for each in cell if not each.endswith(other)):
            if word.startswith("→"):
                state = word[1:]
            elif word in ("send", "tell", "stray"):
                events.append(f"{word} {status}")
            elif word == "new":
                events.append(f"new {self.method.decode()}")
            elif word != "quit":
                events.append(word)
            if word == "quit" or word.startswith(("end ", "fail ")):
                state = "Terminated"
        return events, state

    def check(self: Any, reliable: bool) -> None:
        got = {}
        wanted = {}
        for (name, state), cell in readGrids(sourceOf(self.module)).items():
            if reliable and state in self.unreachable:
                continue
            status, step = self.inputs[name]
            rig, machine = self.put(state, reliable)
            step(rig, machine)
            got[name, state] = (rig.events, self.stateOf(machine))
            wanted[name, state] = self.expected(cell, state, status, reliable)
            listed = machine in getattr(rig.layer, self.table).values()
            self.assertEqual(listed, self.stateOf(machine) != "Terminated", (name, state))
        wrong = {key for key in got if got[key] != wanted[key]}
        self.assertEqual({key: got[key] for key in wrong}, {key: wanted[key] for key in wrong})
        self.assertGreater(len(got), 0)

    def test_unreliable(self) -> None:
        self.check(False)

    def test_reliable(self) -> None:
        self.check(True)

    def test_states(self: Any) -> None:
        """
        The way to each state leads there, but for those that reliable transports do not know.
        """
        for reliable in (False, True):
            reached = {state: self.stateOf(self.put(state, reliable)[1]) for state in self.states}
            away = self.unreachable if reliable else set()
            self.assertEqual(
                reached, {state: "Terminated" if state in away else state for state in self.states}
            )

    def test_complete(self: Any) -> None:
        """
        The grid has a cell for each input in each state, and no other; the inputs are all that the machine
        has, and the states are all that its module names.
        """
        cells = readGrids(sourceOf(self.module))
        self.assertEqual(set(cells), {(name, state) for name in self.inputs for state in self.states})
        self.assertEqual(
            {state.partition("/")[0] for state in self.states}, set(stateNames(self.module).values())
        )
        machine = self.put(next(iter(self.states)), False)[1]
        timers = {name for name in dir(machine) if name.lstrip("_").startswith("timer") or name == "_expired"}
        used = {step.__closure__[0].cell_contents for _, step in self.inputs.values() if step.__closure__}
        self.assertEqual(timers - used, set())


class InviteServerGridTests(GridCase, SynchronousTestCase):
    module = inviteserver
    method = b"INVITE"
    table = "inviteServers"
    states = {
        "Trying": [],
        "Proceeding": [answer(183)],
        "Completed": [answer(180), answer(404)],
        "Confirmed": [answer(404), again(b"ACK")],
        "Accepted": [answer(180), answer(200)],
        "Terminated": [lose],
    }
    unreachable = {"Confirmed"}
    inputs = {
        "INVITE": (0, again(b"INVITE")),
        "ACK": (0, again(b"ACK")),
        "1xx": (180, answer(180)),
        "2xx": (202, answer(202)),
        "3xx-6xx": (486, answer(486)),
        "1xx unsent": (180, unsent(180)),
        "2xx unsent": (200, unsent(200)),
        "3xx-6xx unsent": (600, unsent(600)),
        "timer 100": (100, call("trying")),
        "timer G": (0, call("_timerG")),
        "timer H": (0, call("_timerH")),
        "timer I": (0, call("_timerI")),
        "timer L": (0, call("timerL")),
        "lost": (0, lose),
    }

    def start(self, rig: Rig) -> Any:
        return rig.server(b"INVITE")


class NonInviteServerGridTests(GridCase, SynchronousTestCase):
    module = noninviteserver
    method = b"OPTIONS"
    table = "servers"
    states = {
        "Trying": [],
        "Proceeding": [call("late")],
        "Completed": [answer(200)],
        "Terminated": [lose],
    }
    unreachable = {"Completed"}
    inputs = {
        "request": (0, again(b"OPTIONS")),
        "100": (100, answer(100)),
        "101-199": (182, answer(182)),
        "408": (408, answer(408)),
        "final": (501, answer(501)),
        "final unsent": (200, unsent(200)),
        "timer late": (0, call("late")),
        "timer expiry": (0, call("_expired")),
        "timer J": (0, call("timerJ")),
        "lost": (0, lose),
    }

    def start(self, rig: Rig) -> Any:
        return rig.server(b"OPTIONS")


class InviteClientGridTests(GridCase, SynchronousTestCase):
    module = inviteclient
    method = b"INVITE"
    table = "inviteClients"
    states = {
        "Calling": [],
        "Proceeding": [arrive(100)],
        "Completed": [arrive(404)],
        "Accepted": [arrive(180), arrive(200)],
        "Terminated": [lose],
        "Calling/c": [call("cancel")],
        "Proceeding/c": [arrive(100), call("cancel")],
        "Calling/a": [call("abandon")],
        "Proceeding/a": [arrive(100), call("abandon")],
        "Accepted/a": [arrive(200), call("abandon")],
    }
    unreachable = {"Completed"}
    inputs = {
        "1xx": (183, arrive(183)),
        "2xx": (202, arrive(202)),
        "3xx-6xx": (302, arrive(302)),
        "timer A": (0, call("_timerA")),
        "timer B": (0, call("_timerB")),
        "timer cancel": (0, call("_timerCancel")),
        "timer D": (0, call("_timerD")),
        "timer M": (0, call("timerM")),
        "cancel": (0, call("cancel")),
        "abandon": (0, call("abandon")),
        "lost": (0, lose),
    }

    def start(self, rig: Rig) -> Any:
        return rig.client(b"INVITE")


class NonInviteClientGridTests(GridCase, SynchronousTestCase):
    module = noninviteclient
    method = b"BYE"
    table = "clients"
    states = {
        "Trying": [],
        "Proceeding": [arrive(100)],
        "Completed": [arrive(200)],
        "Terminated": [lose],
        "Trying/a": [call("abandon")],
        "Proceeding/a": [call("abandon"), arrive(100)],
    }
    unreachable = {"Completed"}
    inputs = {
        "1xx": (100, arrive(100)),
        "final": (481, arrive(481)),
        "timer E": (0, call("_timerE")),
        "timer F": (0, call("_timerF")),
        "timer K": (0, call("timerK")),
        "abandon": (0, call("abandon")),
        "lost": (0, lose),
    }

    def start(self, rig: Rig) -> Any:
        return rig.client(b"BYE")
