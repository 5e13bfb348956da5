"""
A server whose traffic several processes share, over the kernel's SCTP.
"""

from __future__ import annotations

from interop.network import KernelNetwork
from tests import test_scenario_workers
from tests.sctpguest import NEEDS_GUEST

_Runs = test_scenario_workers.WorkersTests


class KernelWorkersTests(test_scenario_workers.WorkersCase):
    """
    Of the runs over SCTP in userspace those that have to do with associations.
    """

    skip = NEEDS_GUEST
    timeout = 300
    network = KernelNetwork

    test_spread = _Runs.test_spread
    test_drainUnderLoad = _Runs.test_drainUnderLoad
    test_killedUnderLoad = _Runs.test_killedUnderLoad


# trial would run them here once more.
del _Runs
