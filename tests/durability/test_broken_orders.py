"""The enumeration finds each mistake that a commit could make: to find none means something."""

from __future__ import annotations

import errno

import pytest

from ckptmgr.storage import Bounds
from tests.durability.broken_orders import BROKEN_ORDERS, BrokenOrder
from tests.durability.enumeration import FirstProblem, faults, kills, power_cuts
from tests.durability.nesting import kills_in_recovery, power_cuts_in_recovery
from tests.durability.scenarios import BY_NAME

BOUNDS = Bounds(max_operations=8, num_samples=16, max_blocks=2)
NESTED_BOUNDS = Bounds(max_operations=3, num_samples=0, max_blocks=0)


def problem_of(broken: BrokenOrder) -> str | None:
    scenario = BY_NAME[broken.scenario]
    try:
        with broken.switch():
            match broken.found_by:
                case "kills":
                    kills(scenario, broken.layer, stops=True)
                case "power_cuts":
                    power_cuts(scenario, BOUNDS, broken.layer, stops=True)
                case "faults":
                    faults(scenario, errno.EIO, broken.layer, stops=True)
                case "lasting_faults":
                    faults(scenario, errno.EIO, broken.layer, lasting=True, stops=True)
                case "kills_in_recovery":
                    kills_in_recovery(scenario, broken.layer, stops=True)
                case "power_cuts_in_recovery":
                    power_cuts_in_recovery(
                        scenario, NESTED_BOUNDS, broken.layer, begin=broken.begin, stops=True
                    )
    except FirstProblem as problem:
        return str(problem)
    return None


@pytest.mark.parametrize("broken", BROKEN_ORDERS, ids=lambda broken: broken.name)
def test_a_broken_order_is_found(broken: BrokenOrder) -> None:
    assert problem_of(broken) is not None
