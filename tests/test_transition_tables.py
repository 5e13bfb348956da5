"""
The page of transition tables is what the machines say.
"""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

import sipgrace

ROOT = Path(sipgrace.__file__).parent.parent
GENERATOR = ROOT / "docs" / "transitions.py"


def load() -> ModuleType:
    spec = spec_from_file_location("sipgrace_docs_transitions", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Inputs(Protocol):
    def go(self) -> None:
        """
        Go.
        """

    def stop(self) -> None:
        """
        Stop.
        """


class Sample:
    pass


def sample() -> object:
    builder = TypeMachineBuilder(Inputs, Sample)
    Still = builder.state("Still")
    Moving = builder.state("Moving")
    Still.upon(Inputs.stop).loop().returns(None)

    @Still.upon(Inputs.go).to(Moving)
    def start(c: Inputs, s: Sample) -> None:
        """
        Starts the L{motor.Engine}, as
        C{go} asks.

        @param c: not shown.
        """

    @Moving.upon(Inputs.go).loop()
    def faster(c: Inputs, s: Sample) -> None:
        pass

    return builder.build()


Machine = sample()


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not GENERATOR.exists():
            # An installed package has no docs beside it.
            self.skipTest(f"{GENERATOR} is not there")
        self.generator = load()

    def test_upToDate(self) -> None:
        """
        If this fails: python docs/transitions.py
        """
        self.assertEqual(
            self.generator.PAGE.read_text(encoding="utf-8").splitlines(), self.generator.page().splitlines()
        )

    def test_allDecided(self) -> None:
        for heading, where, states in self.generator.MACHINES:
            table = self.generator.tableOf(self.generator.find(where), states.split())
            self.assertEqual(table.undecided, [], heading)

    def test_allThere(self) -> None:
        """
        No machine is left out: whoever builds one registers it.
        """
        building = {
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in (ROOT / "sipgrace").rglob("*.py")
            if re.search(r"= TypeMachineBuilder\(", path.read_text(encoding="utf-8"))
        }
        self.assertEqual(building, {where.partition(":")[0] for _, where, _ in self.generator.MACHINES})

    def test_table(self) -> None:
        Cell = self.generator.Cell
        table = self.generator.tableOf(Machine, ["Still", "Moving"])
        self.assertEqual(table.inputs, ("go", "stop"))
        self.assertEqual(
            table.cells,
            {
                ("Still", "go"): Cell("Moving", ("start",), "Starts the ``Engine``, as ``go`` asks."),
                ("Still", "stop"): Cell("Still", (), ""),
                ("Moving", "go"): Cell("Moving", ("faster",), ""),
            },
        )
        self.assertEqual(table.undecided, [("Moving", "stop")])

    def test_wrongStates(self) -> None:
        error = self.assertRaises(ValueError, self.generator.tableOf, Machine, ["Still"])
        self.assertEqual(str(error), "the states are Moving Still; found Still")

    def test_page(self) -> None:
        page = self.generator.page([("Sample", f"{__name__}:Machine", "Still Moving")], [])
        self.assertEqual(
            page[len(self.generator.PREFACE) :],
            f"""
Sample
------

``{__name__}.Machine``

.. list-table::
   :header-rows: 1
   :stub-columns: 1

   * -
     - Still
     - Moving
   * - ``go``
     - → Moving
     - ``faster``
   * - ``stop``
     - .
     - **undecided**

.. list-table::
   :header-rows: 1
   :stub-columns: 1

   * - In state
     - on input
     - enters
     - and does
   * - Still
     - ``go``
     - Moving
     - ``start``: Starts the ``Engine``, as ``go`` asks.
   * - Moving
     - ``go``
     - Moving
     - ``faster``
""",
        )

    def test_withoutGrid(self) -> None:
        error = self.assertRaises(ValueError, self.generator.gridOf, "sipgrace.errors")
        self.assertEqual(
            str(error),
            "sipgrace.errors has no grid; a block of comments with lines that begin with '# |' is expected",
        )
