"""
Drains that a server begins by itself, and comes back from by itself: overload and the schedule.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseServer
from sipgrace.errors import ConfigError, OrderRefused, TransportError
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.comeback import AGAIN, Comeback
from sipgrace.lifecycle.door import Door
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.overload import PAUSE, Overload, Thresholds
from sipgrace.lifecycle.pulse import Pulse
from sipgrace.lifecycle.schedule import Schedule, Window, localZone
from tests.test_config import SERVER
from tests.test_lifecycle_machine import Call, World, order

#: What the world's clock shows at the beginning, and the clock on the wall.
CLOCK = 1000.0
WALL = datetime(2026, 3, 28, 12, 0, tzinfo=UTC).timestamp()


class SelfCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(guard=30.0, margin=1.0, retryPeriod=30.0)
        self.world.associations.atOnce = True
        self.clock = self.world.clock
        self.lifecycle = self.world.lifecycle
        self.wall = WALL - CLOCK
        self.busy = False
        self.door = Door("server-102", self.clock, self.lifecycle, wallClock=self.wallClock)
        self.comeback = Comeback(
            self.clock, self.door, Giver(Source.SELF, "self"), lambda: self.busy, self.wallClock
        )

    def wallClock(self) -> float:
        return self.wall + self.clock.seconds()

    def run_(self, seconds: float, step: float = 0.25) -> None:
        self.clock.pump([step] * round(seconds / step))

    @property
    def state(self) -> str:
        return str(self.lifecycle.status().state)

    def drain(self, **values: Any) -> str:
        """
        @return: the nonce.
        """
        given = Order(kind=Kind.DRAIN, who="self", when=1.0, **values)
        return self.successResultOf(self.door.give(given, Giver(Source.SELF, "self"))).order.nonce


class ComebackTests(SelfCase):
    def test_returns(self) -> None:
        """
        When the time is over for which clients were asked to stay away, and not before.
        """
        Call(self.world, "call")
        self.comeback.promise(self.drain(guard=10, retryAfter=40))
        self.assertIsNone(self.comeback.at)
        self.run_(10)
        self.assertEqual((self.state, self.comeback.at), ("offline", 1040))
        self.run_(29.75)
        self.assertEqual(self.state, "offline")
        self.run_(0.25)
        self.assertEqual(self.state, "serving")
        self.assertIsNone(self.comeback.at)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_due(self) -> None:
        """
        At a set time; at once where the drain took longer.
        """
        self.comeback.promise(self.drain(retryAfter=40), due=CLOCK + 5)
        self.run_(4.75)
        self.assertEqual(self.state, "offline")
        self.run_(0.25)
        self.assertEqual(self.state, "serving")
        Call(self.world, "call")
        self.comeback.promise(self.drain(guard=10), due=self.clock.seconds() + 5)
        self.run_(8.75)
        self.assertEqual(self.state, "draining")
        # The end is forced at 9 s.
        self.run_(0.25)
        self.assertEqual(self.state, "serving")

    def test_busy(self) -> None:
        """
        Not while something is maintained.
        """
        self.busy = True
        self.comeback.promise(self.drain(retryAfter=40))
        self.run_(100)
        self.assertEqual(self.state, "offline")
        self.busy = False
        self.run_(1)
        self.assertEqual(self.state, "serving")

    def test_others(self) -> None:
        """
        Whatever somebody else has had a word in is theirs.
        """
        Call(self.world, "call")
        self.comeback.promise(self.drain(guard=10))
        self.lifecycle.cancel(order(Kind.CANCEL))
        self.assertIsNone(self.comeback.at)
        self.comeback.promise(self.drain(guard=10))
        self.lifecycle.offline(order(Kind.OFFLINE))
        self.assertIsNone(self.comeback.at)
        self.run_(200)
        self.assertEqual(self.state, "offline")
        self.lifecycle.resume()
        self.comeback.promise(self.drain(guard=10))
        self.lifecycle.resume()
        self.assertIsNone(self.comeback.at)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # Somebody else's drain, in which ours was merged.
        Call(self.world, "call")
        self.lifecycle.drain(order(guard=10))
        self.comeback.promise(self.drain())
        self.run_(200)
        self.assertEqual(self.state, "offline")

    def test_late(self) -> None:
        """
        Promised when all is over already.
        """
        nonce = self.drain(retryAfter=40)
        self.assertEqual(self.state, "offline")
        self.run_(15)
        self.comeback.promise(nonce)
        self.assertEqual(self.comeback.at, 1040)
        self.lifecycle.resume()
        self.comeback.promise("of one that was taken back")
        self.assertIsNone(self.comeback.at)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cannotListen(self) -> None:
        """
        Tried again, until it can.
        """
        self.comeback.promise(self.drain(retryAfter=40))
        self.world.associations.listening = fail(TransportError("port 5060 is taken"))
        self.run_(40)
        self.assertEqual((self.state, self.comeback.at), ("offline", 1040 + AGAIN))
        self.world.associations.listening = succeed(None)
        self.run_(AGAIN)
        self.assertEqual(self.state, "serving")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_listensSlowly(self) -> None:
        """
        A failure that takes its time is one failure.
        """
        self.comeback.promise(self.drain(retryAfter=40))
        listening: Deferred[None] = Deferred()
        self.world.associations.listening = listening
        self.run_(45)
        self.assertEqual(self.state, "returning")
        listening.errback(TransportError("port 5060 is taken"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class OverloadTests(SelfCase):
    def setUp(self) -> None:
        super().setUp()
        self.spent = 0.0
        self.calls = 0
        self.pulse = Pulse(self.clock)
        self.pulse.start()

    def __len__(self) -> int:
        return self.calls

    def watch(self, **values: Any) -> Overload:
        self.overload = Overload(
            self.clock,
            self.door,
            self,
            Thresholds(**values),
            self.comeback,
            guard=5,
            retryAfter=60,
            processTime=lambda: self.spent,
            wallClock=self.wallClock,
        )
        self.pulse.listeners.append(self.overload)
        return self.overload

    def whys(self) -> list[str]:
        return [event.order.why for event in self.world.events if event.order is not None]

    def test_ledger(self) -> None:
        """
        Too many calls for a while: a drain with that reason, and back by itself.
        """
        self.watch(ledger=100, period=10)
        self.calls = 100
        self.run_(60)
        self.assertEqual(self.state, "serving")
        self.calls = 101
        self.run_(10)
        self.assertEqual(self.state, "serving")
        self.run_(0.25)
        self.assertEqual(self.state, "offline")
        given = self.lifecycle.status().order
        assert given is not None
        self.assertEqual(
            (given.who, given.why, given.guard, given.retryAfter, given.over, given.then),
            ("overload", "overload: 101 calls waiting for 10 s", 5, 60, 0.0, "stay"),
        )
        self.calls = 0
        self.run_(59.75)
        self.assertEqual(self.state, "offline")
        self.run_(0.25)
        self.assertEqual(self.state, "serving")
        self.run_(100)
        self.assertEqual(self.state, "serving")

    def test_break(self) -> None:
        """
        Only what lasts without a break.
        """
        self.watch(ledger=100, period=10)
        for _ in range(10):
            self.calls = 200
            self.run_(9.75)
            self.calls = 50
            self.run_(0.25)
        self.assertEqual(self.state, "serving")

    def test_again(self) -> None:
        """
        Where it goes on after the return, so does the server: with another drain, after as long.
        """
        self.watch(ledger=100, period=10)
        self.calls = 200
        self.run_(10.25 + 60 + 9.75)
        self.assertEqual(self.state, "serving")
        self.run_(0.75)
        self.assertEqual(self.state, "offline")

    def test_lag(self) -> None:
        """
        The reactor is late, time and again.
        """
        overload = self.watch(lag=0.5, period=5)
        self.run_(3)
        self.assertEqual(overload.status(), {"lag": 0.0, "cpu": 0.0})
        for _ in range(4):
            self.clock.advance(1.0)
        self.assertEqual(overload.status()["lag"], 0.75)
        self.assertEqual(self.state, "serving")
        for _ in range(2):
            self.clock.advance(1.0)
        self.assertEqual(self.state, "offline")
        self.assertIn("overload: 0.75 s late for 5 s", self.whys())

    def test_cpu(self) -> None:
        overload = self.watch(cpu=90.0, period=5)

        def work(seconds: float, share: float) -> None:
            for _ in range(round(seconds / 0.25)):
                self.spent += 0.25 * share
                self.clock.advance(0.25)

        work(20, 0.85)
        self.assertEqual(self.state, "serving")
        self.assertAlmostEqual(overload.cpu, 85)
        work(7, 0.97)
        self.assertEqual(self.state, "offline")
        self.assertIn("overload: 97 % CPU for 5 s", self.whys())

    def test_refused(self) -> None:
        """
        Not tried again at every beat; and somebody else's drain is left alone.
        """
        given: list[Order] = []

        def refuse(order: Order) -> None:
            given.append(order)
            raise OrderRefused("not now")

        self.door.checks.append(refuse)
        self.watch(ledger=100, period=1)
        self.calls = 200
        self.run_(1.25)
        self.assertEqual(len(given), 1)
        self.run_(PAUSE + 0.75)
        self.assertEqual(len(given), 1)
        self.run_(0.5)
        self.assertEqual(len(given), 2)
        self.door.checks.clear()
        self.lifecycle.drain(order())
        self.world.events.clear()
        self.run_(100)
        self.assertEqual(self.world.events, [])


class WindowTests(SynchronousTestCase):
    """
    When a window begins.
    """

    berlin = ZoneInfo("Europe/Berlin")

    def nexts(self, window: Window, after: datetime, count: int = 3) -> list[str]:
        found = []
        at: float | None = after.timestamp()
        for _ in range(count):
            assert at is not None
            at = window.next(at)
            if at is None:
                break
            found.append(datetime.fromtimestamp(at, self.berlin).isoformat())
        return found

    def test_once(self) -> None:
        at = datetime(2026, 4, 1, 3, 30, tzinfo=self.berlin)
        window = Window(name="w", at=at)
        self.assertEqual(
            self.nexts(window, datetime(2026, 3, 1, tzinfo=UTC)), ["2026-04-01T03:30:00+02:00"]
        )
        self.assertEqual(self.nexts(window, at), [])

    def test_cron(self) -> None:
        window = Window(name="w", cron="30 3 * * SUN", zone=self.berlin)
        self.assertEqual(
            self.nexts(window, datetime(2026, 10, 1, tzinfo=UTC)),
            ["2026-10-04T03:30:00+02:00", "2026-10-11T03:30:00+02:00", "2026-10-18T03:30:00+02:00"],
        )

    def test_summerTime(self) -> None:
        """
        Once in a night that has the hour twice, and once in one that has it not.
        """
        window = Window(name="w", cron="30 2 * * *", zone=self.berlin)
        self.assertEqual(
            self.nexts(window, datetime(2026, 3, 28, 12, tzinfo=self.berlin), 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        )
        self.assertEqual(
            self.nexts(window, datetime(2026, 10, 24, 12, tzinfo=self.berlin), 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        )

    def test_localZone(self) -> None:
        self.assertIsNot(datetime.now(localZone()).utcoffset(), None)


class ScheduleTests(SelfCase):
    def schedule(self, *windows: Window) -> Schedule:
        schedule = Schedule(self.clock, self.door, windows, self.comeback, self.wallClock)
        schedule.start()
        self.addCleanup(schedule.stop)
        return schedule

    def at(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(WALL + seconds, UTC)

    def test_window(self) -> None:
        """
        It drains then, tells clients when it is back, and is.
        """
        schedule = self.schedule(
            Window(name="kernel", at=self.at(100), lasts=60, values={"guard": 7.0, "then": "stay"})
        )
        self.assertEqual(schedule.status(), [{"name": "kernel", "at": "2026-03-28T12:01:40.000Z"}])
        self.run_(99.75)
        self.assertEqual(self.state, "serving")
        self.run_(0.25)
        self.assertEqual(self.state, "offline")
        given = self.lifecycle.status().order
        assert given is not None
        self.assertEqual(
            (given.who, given.why, given.guard, given.retryAfter, given.back, given.then),
            ("schedule", "schedule: kernel", 7.0, 60.0, WALL + 160, "stay"),
        )
        self.assertEqual(schedule.status(), [])
        self.run_(59.75)
        self.assertEqual(self.state, "offline")
        self.run_(0.25)
        self.assertEqual(self.state, "serving")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stays(self) -> None:
        """
        One that has no end, with a reason of its own.
        """
        self.schedule(Window(name="kernel", at=self.at(10), why="new kernel"))
        self.run_(1000, 5)
        self.assertEqual(self.state, "offline")
        given = self.lifecycle.status().order
        assert given is not None
        self.assertEqual((given.why, given.back, given.retryAfter), ("new kernel", None, None))

    def test_gradual(self) -> None:
        """
        Clients are asked to stay away until its end, however late the full stop is.
        """
        self.schedule(Window(name="kernel", at=self.at(10), lasts=60, values={"over": 20.0}))
        Call(self.world, "call")
        self.run_(31)
        self.assertEqual(self.state, "draining")
        self.assertEqual(self.lifecycle.status().awayFor, 39)

    def test_again(self) -> None:
        """
        One that comes again does; two are taken in turn.
        """
        schedule = self.schedule(
            Window(name="hourly", cron="0 * * * *", lasts=60),
            Window(name="half", cron="30 * * * *", lasts=60),
        )
        begun = []
        for minute in range(1, 121):
            self.run_(60, 30)
            if self.state == "offline":
                given = self.lifecycle.status().order
                assert given is not None
                begun.append((minute, given.why))
        self.assertEqual(
            begun,
            [
                (30, "schedule: half"),
                (60, "schedule: hourly"),
                (90, "schedule: half"),
                (120, "schedule: hourly"),
            ],
        )
        self.assertEqual([entry["name"] for entry in schedule.status()], ["half", "hourly"])

    def test_clockSet(self) -> None:
        """
        The clock on the wall counts, also when it is set.
        """
        self.schedule(Window(name="kernel", at=self.at(3600)))
        self.run_(10)
        self.wall += 3580
        self.run_(20)
        self.assertEqual(self.state, "offline")

    def test_missed(self) -> None:
        """
        What began while the process stood still is left out, if that was long ago.
        """
        schedule = self.schedule(
            Window(name="kernel", at=self.at(10)), Window(name="hourly", cron="0 * * * *")
        )
        self.wall += 71
        self.run_(60)
        self.assertEqual(self.state, "serving")
        self.assertEqual([entry["name"] for entry in schedule.status()], ["hourly"])

    def test_refused(self) -> None:
        """
        Where the server is away already it is left out, and the next one is not.
        """
        self.lifecycle.offline(order(Kind.OFFLINE))
        schedule = self.schedule(Window(name="hourly", cron="0 * * * *"))
        self.run_(3600, 10)
        self.assertEqual(schedule.status(), [{"name": "hourly", "at": "2026-03-28T14:00:00.000Z"}])
        self.successResultOf(self.lifecycle.resume())
        self.run_(3600, 10)
        self.assertEqual(self.lifecycle.status().state, State.OFFLINE)


class ConfigTests(SynchronousTestCase):
    """
    What a file may say about it.
    """

    def errors(self, text: str) -> list[str]:
        error = self.assertRaises(ConfigError, parseServer, SERVER + text, "s.toml")
        return [line.removeprefix("s.toml: ") for line in str(error).splitlines()]

    def test_overload(self) -> None:
        config = parseServer(f"{SERVER}[overload]\nlag = 0.5", "s.toml")
        assert config.overload is not None
        self.assertEqual(
            config.overload.model_dump(),
            {"ledger": None, "lag": 0.5, "cpu": None, "period": 10, "guard": None, "retryAfter": 60},
        )
        self.assertIs(parseServer(SERVER, "s.toml").overload, None)
        self.assertEqual(
            self.errors("[overload]\nperiod = 5"),
            ["overload: expected at least one of ledger, lag and cpu, found none"],
        )

    def test_schedule(self) -> None:
        config = parseServer(
            f"""{SERVER}
            [[schedule]]
            name = "once"
            at = 2030-01-31T03:30:00+01:00
            [[schedule]]
            name = "sundays"
            cron = "30 3 * * SUN"
            timezone = "Europe/Berlin"
            lasts = 3600
            """,
            "s.toml",
        )
        once, sundays = config.schedule
        assert once.at is not None
        self.assertEqual(once.at.timestamp(), datetime(2030, 1, 31, 2, 30, tzinfo=UTC).timestamp())
        self.assertEqual(
            (sundays.cron, str(sundays.timezone), sundays.lasts), ("30 3 * * SUN", "Europe/Berlin", 3600)
        )

    def test_wrong(self) -> None:
        self.assertEqual(
            self.errors(
                """
                [[schedule]]
                name = "a"
                at = "2030-01-31T03:30:00+01:00"
                [[schedule]]
                name = "b"
                at = 2030-01-31T03:30:00
                [[schedule]]
                name = "c"
                cron = "61 * * * *"
                timezone = "Europe/Atlantis"
                [[schedule]]
                name = "d"
                [[schedule]]
                name = "e"
                at = 2030-01-31T03:30:00Z
                cron = "* * * * *"
                [[schedule]]
                name = "f"
                at = 2030-01-31T03:30:00Z
                then = "exit"
                lasts = 60
                """
            ),
            [
                "schedule[1].at: expected a time with its offset, such as 2030-01-31T03:30:00+01:00 (without "
                "quotes), found '2030-01-31T03:30:00+01:00'",
                "schedule[2].at: expected a time with its offset, such as 2030-01-31T03:30:00+01:00 (without "
                "quotes), found '2030-01-31 03:30:00'",
                "schedule[3].cron: expected five fields as cron has them, such as '30 3 * * SUN', found "
                "'61 * * * *' (Bad minute)",
                "schedule[3].timezone: expected a time zone such as 'Europe/Berlin', found 'Europe/Atlantis'",
                "schedule[4]: expected exactly one of at and cron, found none",
                "schedule[5]: expected exactly one of at and cron, found both",
                "schedule[6].lasts: expected nothing to come back after then = 'exit', found a time",
            ],
        )

    def test_together(self) -> None:
        window = '[[schedule]]\nname = "a"\nat = 2030-01-31T03:30:00Z\nthen = "run"\n'
        self.assertEqual(
            self.errors(window + window),
            [
                "schedule[2].name: expected a name that no other window has, found 'a' again",
                'schedule[1].then: expected a command in drain.then ("run COMMAND"), found none',
                'schedule[2].then: expected a command in drain.then ("run COMMAND"), found none',
            ],
        )
        parseServer(f'{SERVER}[drain]\nthen = "run upgrade"\n{window}', "s.toml")
