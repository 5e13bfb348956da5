"""
A server whose traffic several processes share, over the kernel's SCTP.
"""

from __future__ import annotations

from interop.network import KernelNetwork
from tests.sctpguest import NEEDS_GUEST
from tests.test_scenario_workers import WorkersCase, WorkersTests


class KernelWorkersTests(WorkersCase):
    """
    The runs of L{WorkersTests} that have to do with associations.
    """

    skip = NEEDS_GUEST
    timeout = 300
    network = KernelNetwork

    test_spread = WorkersTests.test_spread
    test_drainUnderLoad = WorkersTests.test_drainUnderLoad
    test_killedUnderLoad = WorkersTests.test_killedUnderLoad
