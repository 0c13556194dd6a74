"""What is tried on each operation: a little by every test run, all of it by `make durability`."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ckptmgr.storage import Bounds
from tests.durability.enumeration import ERRNOS, Tally, faults, kills, power_cuts
from tests.durability.nesting import (
    kills_after_power_cuts,
    kills_in_recovery,
    power_cuts_in_recovery,
)
from tests.durability.scenarios import SCENARIOS, Scenario

QUICK_BOUNDS = Bounds(max_operations=5, num_samples=6, max_blocks=2)
FULL_BOUNDS = Bounds(max_operations=12, num_samples=256, max_blocks=16)
#: A recovery is done on each of hundreds of disks.
NESTED_BOUNDS = Bounds(max_operations=3, num_samples=4, max_blocks=1)


@dataclass(frozen=True)
class Campaign:
    """One kind of failure at every point of an operation."""

    name: str
    quick: Callable[[Scenario], Tally]
    full: Callable[[Scenario], Tally]
    #: The operations that `make test` tries it on; None: all.
    quick_on: frozenset[str] | None = None
    #: Another process cannot live on after the power was cut.
    with_others: bool = True

    def applies(self, scenario: Scenario, *, quick: bool) -> bool:
        if scenario.beside is not None and not self.with_others:
            return False
        return not quick or self.quick_on is None or scenario.name in self.quick_on


def _all_faults(scenario: Scenario) -> Tally:
    tally = Tally()
    for number in ERRNOS:
        tally += faults(scenario, number)
    return tally


_NESTED = frozenset({"the first save", "over the newest", "a new step", "Saver, a new step"})

CAMPAIGNS = [
    Campaign("killed", kills, kills),
    Campaign("one call refused", partial(faults, number=errno.EIO), _all_faults),
    Campaign(
        "all calls refused from one on",
        partial(faults, number=errno.ENOSPC, lasting=True),
        partial(faults, number=errno.ENOSPC, lasting=True),
    ),
    Campaign(
        "power cut",
        partial(power_cuts, bounds=QUICK_BOUNDS),
        partial(power_cuts, bounds=FULL_BOUNDS),
        with_others=False,
    ),
    Campaign(
        "killed, and again in the recovery",
        partial(kills_in_recovery, every=6),
        kills_in_recovery,
        _NESTED,
        with_others=False,
    ),
    Campaign(
        "killed, and a power cut in the recovery",
        partial(power_cuts_in_recovery, bounds=NESTED_BOUNDS, every=26),
        partial(power_cuts_in_recovery, bounds=NESTED_BOUNDS, every=5),
        frozenset({"over the newest", "Saver, over the newest"}),
        with_others=False,
    ),
    Campaign(
        "power cut, and killed in the recovery",
        partial(kills_after_power_cuts, bounds=QUICK_BOUNDS, every=40),
        partial(kills_after_power_cuts, bounds=QUICK_BOUNDS, every=8),
        frozenset({"over the newest", "Saver, over the newest"}),
        with_others=False,
    ),
]


def pairs(*, quick: bool) -> list[tuple[Campaign, Scenario]]:
    """What is to be tried."""
    return [
        (campaign, scenario)
        for campaign in CAMPAIGNS
        for scenario in SCENARIOS
        if campaign.applies(scenario, quick=quick)
    ]
