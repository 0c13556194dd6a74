"""Failures of the recovery: the process that saves after a crash is cut off as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ckptmgr.storage import Bounds, FaultInjectingStorage, PowerLossStorage
from tests.durability.enumeration import Layer, Seen, Tally, cut, untroubled
from tests.durability.processes import Process, set_clock
from tests.durability.promises import Later, disk_problems
from tests.durability.scenarios import Scenario

#: The step that the recovering process saves, until it was told that it has.
LATER = Later(11, acknowledged=False)
SAVED = Later(11, acknowledged=True)


@dataclass(frozen=True)
class _Recovery:
    """A process that saved after another one was killed."""

    #: The changes that the first had made, and whether it had been told of success.
    first: int
    disk: PowerLossStorage
    acknowledged: bool
    #: The changes that had been made when the second was told of success.
    saved: int

    def later(self, num_changes: int) -> Later:
        return SAVED if num_changes >= self.saved else LATER


def _recoveries(
    scenario: Scenario, layer: Layer | None, every: int, begin: int = 0
) -> Iterator[_Recovery]:
    """The disk on which a process saved after another was killed, for each change of the first."""
    run = untroubled(scenario)
    assert run.acknowledged_at is not None
    for num_changes in range(begin, run.disk.num_changes + 1, every):
        disk = run.disk.rewound(num_changes)
        set_clock(3000.0)
        storage = FaultInjectingStorage(disk)
        process: Process = scenario.recover(layer(storage) if layer else storage)
        process.save(LATER.step)
        saved = disk.num_changes
        process.close()
        yield _Recovery(num_changes, disk, num_changes >= run.acknowledged_at, saved)


def kills_in_recovery(
    scenario: Scenario, layer: Layer | None = None, *, every: int = 1, stops: bool = False
) -> Tally:
    """A process is killed, and the one that recovers at each of its changes."""
    tally = Tally(stops=stops)
    seen = Seen()
    for recovery in _recoveries(scenario, layer, every):
        for second in range(recovery.first + 1, recovery.disk.num_changes + 1):
            tally.crash_points += 1
            image = recovery.disk.rewound(second).image()
            later = recovery.later(second)
            if seen.adds(image, recovery.acknowledged, later):
                tally.disk_states += 1
                tally.add(
                    f"{scenario.name}, killed behind change {recovery.first}, "
                    f"recovery behind {second}",
                    disk_problems(
                        scenario,
                        image.storage(),
                        acknowledged=recovery.acknowledged,
                        after_power_cut=False,
                        later=later,
                    ),
                )
    return tally


def power_cuts_in_recovery(
    scenario: Scenario,
    bounds: Bounds,
    layer: Layer | None = None,
    *,
    every: int = 1,
    begin: int = 0,
    stops: bool = False,
) -> Tally:
    """A process is killed, and the power goes while the next one recovers."""
    tally = Tally(stops=stops)
    for recovery in _recoveries(scenario, layer, every, begin):
        for first, last in (
            (recovery.first, recovery.saved - 1),
            (recovery.saved, recovery.disk.num_changes),
        ):
            cut(
                scenario,
                recovery.disk,
                (first, last),
                bounds,
                tally,
                acknowledged=recovery.acknowledged,
                later=recovery.later(first),
            )
    return tally


def kills_after_power_cuts(scenario: Scenario, bounds: Bounds, *, every: int = 1) -> Tally:
    """The power goes, and the process that recovers is killed at each of its changes."""
    tally = Tally()
    seen = Seen()
    run = untroubled(scenario)
    assert run.acknowledged_at is not None
    for number, state in enumerate(run.disk.power_cuts(0, run.acknowledged_at - 1, bounds=bounds)):
        if number % every:
            continue
        set_clock(3000.0)
        disk = PowerLossStorage(state.image)
        process: Process = scenario.recover(disk)
        process.save(LATER.step)
        saved = disk.num_changes
        process.close()
        for second in range(1, disk.num_changes + 1):
            tally.crash_points += 1
            image = disk.rewound(second).image()
            later = SAVED if second >= saved else LATER
            if seen.adds(image, later):
                tally.disk_states += 1
                tally.add(
                    f"{scenario.name}, power cut behind change {state.num_changes}, "
                    f"recovery killed behind {second}",
                    disk_problems(
                        scenario,
                        image.storage(),
                        acknowledged=False,
                        after_power_cut=True,
                        later=later,
                    ),
                )
    return tally
