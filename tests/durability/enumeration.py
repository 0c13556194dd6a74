"""Every point at which an operation can fail, each tried on a disk of its own."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from ckptmgr import errors
from ckptmgr.storage import (
    Bounds,
    DiskImage,
    Fault,
    FaultInjectingStorage,
    PowerLossStorage,
    ProcessKilled,
    Storage,
)
from tests.durability import tolerated
from tests.durability.processes import DIRECTORY, Process, set_clock, value_of
from tests.durability.promises import Later, broken_promises, broken_recovery, disk_problems
from tests.durability.scenarios import Scenario

#: What a disk, a quota, a full table of files, a signal and a network file system may answer.
ERRNOS = (
    errno.ENOSPC,
    errno.EIO,
    errno.EDQUOT,
    errno.EMFILE,
    errno.EINTR,
    errno.EACCES,
    errno.ESTALE,
)

_TOKEN = re.compile(r"[0-9a-f]{32}")

#: Stands between an operation and the disk: how a broken commit order is made.
Layer = Callable[[Storage], Storage]


class FirstProblem(Exception):
    """What was looked for is found."""


@dataclass
class Tally:
    """How much was tried, and what went wrong."""

    crash_points: int = 0
    disk_states: int = 0
    #: Cuts of which not every combination of lost names was tried.
    sampled_cuts: int = 0
    problems: list[str] = field(default_factory=list)
    #: Whether one problem is enough, so that the rest need not be looked at.
    stops: bool = False

    def add(self, where: str, problems: list[str]) -> None:
        self.problems += [f"{where}: {problem}" for problem in problems]
        if self.stops and problems:
            raise FirstProblem(self.problems[0])

    def __iadd__(self, other: Tally) -> Tally:
        self.crash_points += other.crash_points
        self.disk_states += other.disk_states
        self.sampled_cuts += other.sampled_cuts
        self.problems += other.problems
        return self


@dataclass
class Run:
    """One try of an operation: where it ran, and what its caller knows."""

    disk: PowerLossStorage
    storage: FaultInjectingStorage
    process: Process | None = None
    acknowledged: bool = False
    #: The length of the trace when the caller was told of success.
    acknowledged_at: int | None = None
    raised: BaseException | None = None
    #: Whether all that was left to do was to say good-bye.
    closing: bool = False


def prepared(scenario: Scenario) -> DiskImage:
    """The disk before the operation, all of it stable."""
    set_clock(1000.0)
    disk = PowerLossStorage()
    # Above the run's directory: somebody else's, and there.
    for directory in disk.make_dirs("/runs"):
        disk.sync_dir(directory)
    disk.sync_dir("/")
    scenario.prepare(disk)
    return disk.image()


def attempt(
    scenario: Scenario,
    disk: PowerLossStorage,
    faults: list[Fault],
    layer: Layer | None = None,
) -> Run:
    """Do the operation on a disk, with what is to go wrong."""
    set_clock(2000.0)
    run = Run(disk, FaultInjectingStorage(disk, faults))

    def acknowledge() -> None:
        run.acknowledged = True
        run.acknowledged_at = disk.num_changes

    try:
        run.process = scenario.start(layer(run.storage) if layer else run.storage)
        scenario.act(run.process, acknowledge)
        if not run.storage.met:
            run.closing = True
            run.process.close()
    except (ProcessKilled, errors.CheckpointError) as error:
        run.raised = error
    if run.storage.is_killed and run.process is not None:
        run.process.abandon()
    return run


def _beside(scenario: Scenario, disk: Storage) -> AbstractContextManager[Any]:
    return nullcontext() if scenario.beside is None else scenario.beside(disk)


def _runs(
    scenario: Scenario, fault: Callable[[int], Fault], layer: Layer | None = None
) -> Iterator[tuple[int, Run]]:
    """A run for each call of the operation; the last is one in which nothing failed."""
    start = prepared(scenario)
    for number in itertools.count(1):
        disk = PowerLossStorage(start)
        with _beside(scenario, disk):
            run = attempt(scenario, disk, [fault(number)], layer)
            yield number, run
        if not run.storage.met:
            return


def kills(scenario: Scenario, layer: Layer | None = None, *, stops: bool = False) -> Tally:
    """The process dies at each call; a machine that stays up goes on with what was done."""
    tally = Tally(stops=stops)
    seen = Seen()
    for number, run in _runs(scenario, lambda number: Fault(at=number, kill=True), layer):
        tally.crash_points += 1
        where = f"{scenario.name}, killed at {_called(run, number)}"
        if run.storage.met and not isinstance(run.raised, ProcessKilled):
            tally.add(where, ["the operation went on after the process was dead"])
        if seen.adds(run.disk.image(), run.acknowledged):
            tally.disk_states += 1
            tally.add(
                where,
                disk_problems(
                    scenario, run.disk, acknowledged=run.acknowledged, after_power_cut=False
                ),
            )
    return tally


class Seen:
    """Disks that were looked at: what a call that only reads leaves was there before it."""

    def __init__(self) -> None:
        self._keys: set[object] = set()

    def adds(self, image: DiskImage, *known: object) -> bool:
        """Whether no disk like this one, of which the same is known, was there yet."""
        anonymous = replace(
            image, names={_TOKEN.sub("token", path): n for path, n in image.names.items()}
        )
        key = (anonymous.key(), known)
        is_new = key not in self._keys
        self._keys.add(key)
        return is_new


def _called(run: Run, number: int) -> str:
    calls = run.storage.calls
    return str(calls[number - 1]).strip() if number <= len(calls) else "no call"


def faults(
    scenario: Scenario,
    number: int,
    layer: Layer | None = None,
    *,
    lasting: bool = False,
    stops: bool = False,
) -> Tally:
    """One errno at each call, once or from then on; then the process goes on, then another."""
    tally = Tally(stops=stops)
    seen = Seen()
    for at, run in _runs(
        scenario, lambda at: Fault(at=at, error=number, lasting=lasting, written=0.5), layer
    ):
        if not run.storage.met:
            break
        tally.crash_points += 1
        where = f"{scenario.name}, {errno.errorcode[number]} at {_called(run, at)}"
        tally.add(where, list(_unheard(scenario, run)))
        acknowledged = run.acknowledged
        if seen.adds(run.disk.image(), acknowledged):
            tally.disk_states += 1
            tally.add(where, broken_promises(scenario, run.disk, acknowledged=acknowledged))
        # What the caller was told must survive the loss of everything that was not synced.
        lost = run.disk.synced_image()
        if seen.adds(lost, acknowledged, "lost"):
            tally.disk_states += 1
            tally.add(
                f"{where}, then a power cut",
                broken_promises(scenario, lost.storage(), acknowledged=acknowledged),
            )
        tally.add(where, _go_on(scenario, run))
        if seen.adds(run.disk.image(), acknowledged, "later"):
            tally.disk_states += 1
            tally.add(
                where,
                broken_recovery(
                    scenario, run.disk, acknowledged=acknowledged, after_power_cut=False
                ),
            )
    return tally


def _unheard(scenario: Scenario, run: Run) -> Iterator[str]:
    """What the caller should have been told and was not."""
    call = run.storage.met[0]
    if run.raised is None and not tolerated.reason(scenario, run.storage.calls, call):
        yield "the caller heard nothing of it"
    if isinstance(run.raised, ProcessKilled):
        yield "nobody was killed"
    if run.raised is not None and not isinstance(run.raised, errors.StorageError):
        yield f"the caller heard {run.raised!r}, which is no StorageError"
    failed_syncs = {c.path for c in run.storage.met if c.method in {"sync", "sync_file"}}
    for later in run.storage.calls[call.number :]:
        if later.method == "rename" and later.source in failed_syncs and later.fault is None:
            yield f"{later.source} got its name although its sync had failed"


def _go_on(scenario: Scenario, run: Run) -> list[str]:
    """The process whose operation failed saves again, now that the disk answers again."""
    run.storage._countdowns.clear()
    has_ended = run.closing or (scenario.ends and run.raised is None)
    if run.process is None or has_ended:
        run.storage.kill()
        if run.process is not None:
            run.process.abandon()
        return []
    try:
        if scenario.saves is not None and run.raised is not None:
            step, value = scenario.saves
            run.process.save(step, int(value - value_of(step)))  # what failed stays due
        run.process.save(11)
        left = [name for name in run.disk.list_dir(DIRECTORY) if ".tmp-" in name]
        run.process.close()
    except errors.CheckpointError as error:
        return [f"the same process could not save afterwards: {error!r}"]
    # A deletion that was cut off, of which nobody was told, waits for the next process.
    return [f"{name} is left over by the same process" for name in left if run.raised is not None]


def untroubled(scenario: Scenario, layer: Layer | None = None) -> Run:
    """The operation, of which nothing fails."""
    run = attempt(scenario, PowerLossStorage(prepared(scenario)), [], layer)
    if run.raised is not None:
        raise run.raised
    return run


def power_cuts(
    scenario: Scenario, bounds: Bounds, layer: Layer | None = None, *, stops: bool = False
) -> Tally:
    """The power goes at each change, and leaves each disk that it may leave."""
    tally = Tally(stops=stops)
    run = untroubled(scenario, layer)
    assert run.acknowledged_at is not None
    # Twice, because a state that was there before the acknowledgement is looked at only once.
    cut(scenario, run.disk, (0, run.acknowledged_at - 1), bounds, tally, acknowledged=False)
    last = run.disk.num_changes
    cut(scenario, run.disk, (run.acknowledged_at, last), bounds, tally, acknowledged=True)
    return tally


def cut(
    scenario: Scenario,
    disk: PowerLossStorage,
    changes: tuple[int, int],
    bounds: Bounds,
    tally: Tally,
    *,
    acknowledged: bool,
    later: Later | None = None,
) -> None:
    """Look at each disk that a cut behind one of the changes may leave."""
    sampled = set()
    for state in disk.power_cuts(*changes, bounds=bounds):
        tally.disk_states += 1
        if not state.exhaustive:
            sampled.add(state.num_changes)
        tally.add(
            f"{scenario.name}, power cut behind change {state.num_changes}",
            disk_problems(
                scenario,
                state.image.storage(),
                acknowledged=acknowledged,
                after_power_cut=True,
                later=later,
            ),
        )
    tally.crash_points += changes[1] - changes[0] + 1
    tally.sampled_cuts += len(sampled)
