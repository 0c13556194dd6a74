"""What must hold of a directory after any failure, as a list of what does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import CheckpointManager, CheckpointReader, errors, latest_checkpoint, naming
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.lifecycle.metadata import METADATA_NAME
from ckptmgr.storage import Storage
from tests.durability.processes import DIRECTORY, FROZEN, Process, now_secs, value_of
from tests.durability.scenarios import Scenario

_SHARD = re.compile(r"\.data-|-\d{5}-of-\d{5}$")
_V1 = re.compile(r"model\.ckpt-(\d+)")
_V1_SHARD = re.compile(r"model\.ckpt-(\d+)-(\d{5})-of-(\d{5})")


@dataclass(frozen=True)
class Later:
    """A second save, which recovered from the first, and may have come as far as it would."""

    step: int
    acknowledged: bool


@dataclass(frozen=True)
class Found:
    """The checkpoints on a disk: the value of each, or what is wrong with it, by step."""

    values: dict[int, float | str]
    #: Files of a run's directory that belong to none.
    strays: list[str]


def look(storage: Storage) -> Found:
    """Read every tensor of every checkpoint there is."""
    try:
        names = storage.list_dir(DIRECTORY)
    except errors.FileMissing:
        return Found({}, [])
    owned = {naming.STATE_FILENAME, naming.INTERNAL_DIRECTORY}
    values: dict[int, float | str] = {}
    for filename in names:
        base = naming.prefix_of_index(filename)
        if base is not None:
            prefix, files = base, {filename, *_shards_of_index(storage, base, names)}
        elif match := _V1_SHARD.fullmatch(filename):
            if int(match.group(2)):
                continue  # shard 0 makes the checkpoint exist
            prefix = f"model.ckpt-{match.group(1)}-?????-of-{match.group(3)}"
            files = set(map(naming.base_of, naming.v1_shard_files(prefix) or []))
        elif _V1.fullmatch(filename):
            prefix, files = filename, {filename}
        else:
            continue
        owned |= files
        values[_step(prefix)] = _value(storage, f"{DIRECTORY}/{prefix}")
    return Found(values, sorted(set(names) - owned))


def _step(prefix: str) -> int:
    match = _V1.match(naming.base_of(prefix))
    assert match is not None
    return int(match.group(1))


def _shards_of_index(storage: Storage, base: str, names: list[str]) -> set[str]:
    """The shards of the count that the index tells; all, if it does not."""
    shards = naming.shards_of(base, names)
    file = storage.open(f"{DIRECTORY}/{naming.index_file(base)}")
    try:
        count: int | None = BundleIndex(file).header.num_shards
    except errors.CheckpointError:
        count = None
    finally:
        file.close()
    return {shard for shard, (_, counted) in shards.items() if count in {None, counted}}


def _value(storage: Storage, prefix: str) -> float | str:
    try:
        with CheckpointReader(prefix, storage=storage) as reader:
            tensors = {
                name: np.asarray(reader.get_tensor(name))
                for name in reader.get_variable_to_shape_map()
                if name != METADATA_NAME
            }
    except errors.CheckpointError as error:
        return f"does not verify: {error}"
    frozen = [tensors.pop(name) for name in list(tensors) if "frozen" in name]
    if len(frozen) != 1 or not np.array_equal(frozen[0], FROZEN) or len(tensors) != 1:
        return "is torn"
    (tensor,) = tensors.values()
    values = np.unique(tensor)
    return float(values[0]) if len(values) == 1 else "is torn"


def broken_promises(
    scenario: Scenario, storage: Storage, *, acknowledged: bool, later: Later | None = None
) -> list[str]:
    """What a restarted process misses, before it has changed anything."""
    found = look(storage)
    try:
        named = latest_checkpoint(DIRECTORY, storage=storage)
    except errors.CheckpointError as error:
        return [f"the state does not say what is latest: {error}"]
    latest = None if named is None else _step(named)
    return [
        *_not_whole(scenario, found, later, acknowledged=acknowledged),
        *_not_named(scenario, found, latest, later, acknowledged=acknowledged),
        *_gone(scenario, found, latest, later, acknowledged=acknowledged),
    ]


def _not_whole(
    scenario: Scenario, found: Found, later: Later | None, *, acknowledged: bool
) -> Iterator[str]:
    for step, value in found.values.items():
        allowed = set()
        saved_step, saved_value = scenario.saves or (None, None)
        if not (acknowledged and step == saved_step):
            allowed.add(scenario.before.get(step))
        if step == saved_step:
            allowed.add(saved_value)
        if later is not None and step == later.step:
            allowed.add(value_of(step))
        if value not in allowed:
            yield f"checkpoint {step} is {value}, not {allowed}"


def _not_named(
    scenario: Scenario, found: Found, latest: int | None, later: Later | None, *, acknowledged: bool
) -> Iterator[str]:
    saved = None if scenario.saves is None else scenario.saves[0]
    allowed: set[int | None] = {scenario.newest, saved, *scenario.may_name}
    if acknowledged and saved is not None:
        allowed = {saved}
    elif acknowledged and scenario.may_name:
        allowed = set(scenario.may_name)
    elif scenario.newest is not None and saved is None:
        allowed.discard(None)
    if later is not None:
        allowed = {later.step} if later.acknowledged else {*allowed, later.step}
    if latest not in allowed:
        yield f"the state names {latest}, not {allowed}"
    if latest is not None and latest not in found.values:
        yield f"the state names {latest}, which is not there"


def _gone(
    scenario: Scenario, found: Found, latest: int | None, later: Later | None, *, acknowledged: bool
) -> Iterator[str]:
    may_go = set(scenario.gives_up)
    if later is not None and latest == later.step:
        may_go = set(scenario.before) - (scenario.kept_later or set())
        may_go -= scenario.pins if acknowledged else set()
    elif scenario.saves is not None and latest != scenario.saves[0]:
        may_go.clear()
    for step in set(scenario.before) - found.values.keys() - may_go:
        yield f"checkpoint {step} is gone"


def unrestorable(scenario: Scenario, storage: Storage, later: Later | None) -> list[str]:
    """Restore what is latest, as a restarted process would."""
    named = None
    with suppress(errors.CheckpointError):
        named = latest_checkpoint(DIRECTORY, storage=storage)
    if named is None or "?" in named:
        return []  # nothing there, or of a Saver's own kind
    manager = CheckpointManager(None, DIRECTORY, storage=storage, clock=now_secs)
    try:
        restored = manager.restore()
    except errors.CheckpointError as error:
        return [f"restore raised {error!r}"]
    allowed = {scenario.before.get(_step(named))}
    if scenario.saves is not None and scenario.saves[0] == _step(named):
        allowed.add(scenario.saves[1])
    if later is not None and later.step == _step(named):
        allowed.add(value_of(later.step))
    found = None if restored is None else set(np.unique(_leaf(restored.state, "w")).tolist())
    return [] if found is not None and found <= allowed else [f"restored {found}, not {allowed}"]


def _leaf(state: Any, name: str) -> Any:
    return state[name]


def broken_recovery(
    scenario: Scenario, storage: Storage, *, acknowledged: bool, after_power_cut: bool
) -> list[str]:
    """What is amiss when the next processes save, and after they have."""
    problems: list[str] = []
    for step in (20, 21, 22):
        try:
            process: Process = scenario.recover(storage)
            process.save(step)
            process.close()
        except errors.CheckpointError as error:
            return [*problems, f"the save of {step} raised {error!r}"]
        found = look(storage)
        problems += [f"checkpoint {s} {v}" for s, v in found.values.items() if isinstance(v, str)]
        if found.values.get(step) != value_of(step):
            problems.append(f"checkpoint {step} was saved and is {found.values.get(step)}")
        problems += leftovers(scenario, storage, found, after_power_cut=after_power_cut)
        if after_power_cut:
            return problems + _lost_later(scenario, found, acknowledged=acknowledged)
    if scenario.kept_later is not None:
        expected = {21, 22} | scenario.kept_later | scenario.pins
        optional: set[int] = set()
        if not acknowledged:
            saved = {scenario.saves[0]} if scenario.saves else set()
            optional = {*scenario.pins, *(scenario.kept_later & saved)}
        if set(found.values) - optional != expected - optional:
            problems.append(f"in the end there are {sorted(found.values)}, not {sorted(expected)}")
    return problems


def _lost_later(scenario: Scenario, found: Found, *, acknowledged: bool) -> list[str]:
    stay = {20} | (scenario.pins if acknowledged else set())
    return [f"checkpoint {step} is gone" for step in sorted(stay - found.values.keys())]


def leftovers(
    scenario: Scenario, storage: Storage, found: Found, *, after_power_cut: bool
) -> list[str]:
    """Files that the next save should have removed."""
    left = list(found.strays)
    if after_power_cut:
        # Of names that were lost in any order, shards may be left that nothing tells of.
        left = [name for name in left if ".tmp-" in name or not _SHARD.search(name)]
    internal = naming.internal_directory(DIRECTORY)
    for filename in storage.list_dir(internal):
        if ".tmp-" in filename:
            left.append(filename)
    held = scenario.beside is not None
    for directory in ("writers", "publishing", "holds", "deleting"):
        if held and directory in {"holds", "deleting"}:
            continue
        try:
            left += [f"{directory}/{name}" for name in storage.list_dir(f"{internal}/{directory}")]
        except errors.FileMissing:
            continue
    return [f"{name} is left over" for name in left]


def disk_problems(
    scenario: Scenario,
    storage: Storage,
    *,
    acknowledged: bool,
    after_power_cut: bool,
    later: Later | None = None,
) -> list[str]:
    """All that is wrong with one disk; changes it."""
    return (
        broken_promises(scenario, storage, acknowledged=acknowledged, later=later)
        + unrestorable(scenario, storage, later)
        + broken_recovery(
            scenario, storage, acknowledged=acknowledged, after_power_cut=after_power_cut
        )
    )
