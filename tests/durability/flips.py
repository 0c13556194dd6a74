"""Flipped bits and cut files: is each found when the checkpoint is restored, or harmless?

Two directories are saved, one of each format, with what a checkpoint can hold: numbers of many
kinds, bfloat16, strings, a partitioned tensor, several shards, two steps; and a third one with a
graph, whose `.meta` is imported to restore it. Then, again and again,
one bit of one file is flipped, or the file cut at any length, the newest checkpoint is restored in
one of the ways that a user has, and the file is put back.

    detected  an error came, or a warning, or an event
    harmless  nothing was said, and every value is the one that was saved, to the bit
    silent    nothing was said, and a value is another one

make flips FLIPS="--count 10000"
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import ml_dtypes
import numpy as np

from ckptmgr import errors, events
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.graph import Graph, Session, get_variable, global_variables, import_meta_graph
from ckptmgr.graph import Saver as GraphSaver
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.reading import load_checkpoint
from ckptmgr.lifecycle.saver import Saver, WriteVersion
from ckptmgr.lifecycle.state import latest_checkpoint
from ckptmgr.lifecycle.variables import PartitionedVariable

Values = dict[str, Any]

#: One bit apart: a state that names the older of them is the worst that a flip can do to it.
STEPS = (4, 5)
DAMAGES = ("bit flip", "truncation")


class _OnDevice(np.ndarray[Any, Any]):
    """An array that a Saver puts into the shard of its device."""

    device: Any = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """Files that are damaged: those of the newest checkpoint that match the pattern."""

    name: str
    format: str
    pattern: str


KINDS = (
    Kind("V2 data", "v2", "model-5.data-*"),
    Kind("V2 index", "v2", "model-5.index"),
    Kind("V2 state", "v2", "checkpoint"),
    Kind("V1 shards", "v1", "model-5-*"),
    Kind("V1 state", "v1", "checkpoint"),
    Kind("meta graph", "graph", "model-5.meta"),
)


# --------------------------------------------------------------------------- what is saved


def values_of(step: int, version: str) -> Values:
    random = np.random.default_rng(step)
    if version == "graph":
        # Names that are one bit apart: nothing but a checksum tells them from each other.
        return {f"layer{n}": random.normal(size=(3, 5)).astype(np.float32) for n in range(8)}
    texts = np.empty((2, 3), object)
    texts.reshape(-1)[:] = [b"", b"a\0b", b"x" * 200, b"\xff" * 5, b"last", str(step).encode()]
    values: Values = {
        "layer/kernel": random.normal(size=(100, 100)).astype(np.float32),
        "layer/bias": random.normal(size=100),
        "counts": random.integers(-1000, 1000, 50),
        "flags": random.integers(0, 2, 9).astype(bool),
        "half": random.normal(size=20).astype(np.float16),
        "spectrum": (random.normal(size=8) + 1j).astype(np.complex64),
        "empty": np.zeros((0, 4), np.float32),
        "step": np.array(step),
        "texts": texts,
        "table": random.normal(size=(12, 5)).astype(np.float32),
    }
    if version == "v2":
        values["brain"] = random.normal(size=(7, 5)).astype(ml_dtypes.bfloat16)
        values |= {f"many/{n}": np.full(3, n + step, np.float32) for n in range(100)}
    return values


def _variables(values: Values) -> Values:
    """As a user with two devices and a partitioned table would have them."""
    variables: Values = {}
    for number, (name, value) in enumerate(values.items()):
        variables[name] = value.copy().view(_OnDevice) if value.ndim else value.copy()
        if value.ndim:
            variables[name].device = f"cpu:{number % 2}"
    table = values["table"]
    parts = [((start, 0), table[start : start + 4].copy()) for start in (0, 4, 8)]
    variables["table"] = PartitionedVariable(table.shape, parts)
    return variables


def _saver(values: Values, version: str) -> Saver:
    write_version = WriteVersion.V2 if version == "v2" else WriteVersion.V1
    return Saver(
        _variables(values),
        sharded=True,
        write_version=write_version,
        durability="none",
        save_relative_paths=True,
    )


def _save_graph(run: Path) -> None:
    graph = Graph()
    with graph.as_default(), Session() as session:
        for name, value in values_of(0, "graph").items():
            get_variable(name, initializer=_zeros(value))
        saver = GraphSaver()
        for step in STEPS:
            for variable in global_variables():
                variable.load(values_of(step, "graph")[variable.op.name], session)
            saver.save(session, str(run / "model"), step)


def save_all(directory: Path) -> None:
    """The directories `v2`, `v1` and `graph`, in a new one."""
    (directory / "graph").mkdir(parents=True)
    _save_graph(directory / "graph")
    for version in ("v2", "v1"):
        run = directory / version
        run.mkdir(parents=True)
        earlier: list[str] = []
        for step in STEPS:
            saver = _saver(values_of(step, version), version)
            if version == "v2":
                with CheckpointManager(saver, run, checkpoint_name="model", durability="none") as m:
                    m.save(step, metrics={"loss": 1 / step})
            else:
                saver.recover_last_checkpoints(earlier)
                earlier.append(saver.save(str(run / "model"), step) or "")


# --------------------------------------------------------------------------- ways to restore


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a restore gave: the step that it said it was of, and the values."""

    step: int
    values: Values
    told: bool = False


def _read(run: Path, *, mmap: bool = False) -> Outcome:
    with load_checkpoint(run, mmap=mmap) as reader:
        found = reader.get_tensors()
        prefix = reader.prefix
    return Outcome(_step_of(prefix), found)


def _map(run: Path) -> Outcome:
    return _read(run, mmap=True)


def _read_slices(run: Path) -> Outcome:
    """Every tensor as its first half and the rest."""
    with load_checkpoint(run) as reader:
        found = {}
        for name, shape in reader.get_variable_to_shape_map().items():
            if not shape or not all(shape) or shape[0] < 2:
                found[name] = reader.get_tensor(name)
                continue
            found[name] = np.concatenate([reader.get_slice(name, part) for part in _halves(shape)])
        return Outcome(_step_of(reader.prefix), found)


def _read_unverified(run: Path) -> Outcome:
    """What no checksum protects: for the test of this test."""
    with load_checkpoint(run) as reader:
        found = {}
        for name, shape in reader.get_variable_to_shape_map().items():
            if shape and all(shape):
                whole = TensorSlice(tuple(Extent(0, size) for size in shape))
                found[name] = reader.get_slice(name, whole, verify=False)
        return Outcome(_step_of(reader.prefix), found)


def _halves(shape: list[int]) -> Iterator[TensorSlice]:
    middle = shape[0] // 2
    for start, length in ((0, middle), (middle, shape[0] - middle)):
        yield TensorSlice((Extent(start, length), *(Extent(0, size) for size in shape[1:])))


def _restore_managed(run: Path) -> Outcome:
    target = _variables({name: _zeros(value) for name, value in values_of(0, "v2").items()})
    told: list[events.Event] = []
    saver = Saver(target, sharded=True)
    with CheckpointManager(saver, run, checkpoint_name="model", on_event=told.append) as manager:
        restored = manager.restore()
    if restored is None:
        raise errors.CheckpointNotFound("there is none")
    bad = (events.CheckpointSkipped, events.StateRebuilt)
    return Outcome(restored.step, restored.state, any(isinstance(event, bad) for event in told))


def _restore_saved(run: Path) -> Outcome:
    """Through a Saver, from what the state names."""
    with load_checkpoint(run) as reader:
        version = "v1" if "?" in reader.prefix else "v2"
        zeros = {name: _zeros(value) for name, value in values_of(0, version).items()}
        restored = Saver(_variables(zeros), sharded=True).restore(reader.prefix)
        return Outcome(_step_of(reader.prefix), restored)


def _import(run: Path) -> Outcome:
    """The graph beside a checkpoint, and its variables as its Saver restores them."""
    prefix = latest_checkpoint(run)
    if prefix is None:
        raise errors.CheckpointNotFound("there is none")
    with Graph().as_default(), Session() as session:
        saver = import_meta_graph(f"{prefix}.meta")
        if saver is None:
            raise errors.InvalidGraph("there is no Saver in it")
        saver.restore(session, prefix)
        found = {variable.op.name: session.run(variable) for variable in global_variables()}
        return Outcome(_step_of(prefix), found)


def _zeros(value: Any) -> Any:
    return np.full(value.shape, b"", object) if value.dtype.hasobject else np.zeros_like(value)


def _step_of(prefix: str) -> int:
    return int(Path(prefix).name.split("-")[1])


ROUTES: dict[str, dict[str, Callable[[Path], Outcome]]] = {
    "v2": {
        "reader": _read,
        "mmap": _map,
        "slices": _read_slices,
        "manager": _restore_managed,
        "saver": _restore_saved,
    },
    "v1": {"reader": _read, "slices": _read_slices, "saver": _restore_saved},
    "graph": {"import": _import},
}
UNVERIFIED = _read_unverified


# --------------------------------------------------------------------------- damage


class _Ear(logging.Handler):
    """Whether the package said anything."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard = True


@contextmanager
def _listening() -> Iterator[_Ear]:
    logger = logging.getLogger("ckptmgr")
    ear = _Ear()
    logger.addHandler(ear)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield ear
    finally:
        logger.removeHandler(ear)
        logger.propagate = propagates


class Laboratory:
    """The directories, and what they hold."""

    def __init__(self, directory: Path) -> None:
        save_all(directory)
        self._directory = directory
        self._expected = {
            (version, step): values_of(step, version) for version in ROUTES for step in STEPS
        }

    def sound(self, version: str, route: Callable[[Path], Outcome]) -> str:
        """What comes of an undamaged directory."""
        return self._judge(version, route)

    def damage(
        self, kind: Kind, damage: str, seed: int, route: Callable[[Path], Outcome] | None = None
    ) -> str:
        """Damage one file of a kind, restore, mend the file: "detected", "harmless" or "silent"."""
        random = Random(f"{kind.name} {damage} {seed}")
        files = sorted((self._directory / kind.format).glob(kind.pattern))
        file = random.choices(files, [path.stat().st_size for path in files])[0]
        route = route or random.choice(list(ROUTES[kind.format].values()))
        sound = file.read_bytes()
        file.write_bytes(_damaged(sound, damage, random))
        try:
            return self._judge(kind.format, route)
        finally:
            file.write_bytes(sound)

    def _judge(self, version: str, route: Callable[[Path], Outcome]) -> str:
        with _listening() as ear:
            try:
                outcome = route(self._directory / version)
            except errors.CheckpointError:
                return "detected"
        if not self._is_exact(version, outcome):
            return "silent"
        if ear.heard or outcome.told:
            return "detected"
        return "harmless" if outcome.step == STEPS[-1] else "silent"

    def _is_exact(self, version: str, outcome: Outcome) -> bool:
        expected = self._expected.get((version, outcome.step), {})
        found = {name: value for name, value in outcome.values.items() if name in expected}
        is_whole = outcome.step in STEPS and bool(found)
        return is_whole and all(_same(expected[name], value) for name, value in found.items())


def _damaged(content: bytes, damage: str, random: Random) -> bytes:
    if damage == "truncation":
        return content[: random.randrange(len(content))]
    flipped = bytearray(content)
    flipped[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, PartitionedVariable):
        other = np.concatenate([part for _, part in other.parts])
    other = np.asarray(other)
    if one.dtype.hasobject:
        return bool(one.shape == other.shape and one.tolist() == other.tolist())
    return bool(
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.durability.flips")
    parser.add_argument("--count", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    each = -(-options.count // (len(KINDS) * len(DAMAGES)))
    began_secs = time.perf_counter()
    total: Counter[str] = Counter()
    print(f"{'file':<12}{'damage':<12}{'number':>8}{'detected':>10}{'harmless':>10}{'silent':>8}")
    with tempfile.TemporaryDirectory() as directory:
        laboratory = Laboratory(Path(directory) / "runs")
        for kind in KINDS:
            for damage in DAMAGES:
                found: Counter[str] = Counter()
                for number in range(each):
                    outcome = laboratory.damage(kind, damage, options.seed + number)
                    found[outcome] += 1
                    if outcome == "silent":
                        print(f"silent: {kind.name}, {damage}, seed {options.seed + number}")
                _print_row(kind.name, damage, found)
                total += found
    _print_row("all", "", total)
    print(f"{time.perf_counter() - began_secs:.0f} s")
    return 1 if total["silent"] else 0


def _print_row(name: str, damage: str, found: Counter[str]) -> None:
    print(
        f"{name:<12}{damage:<12}{found.total():>8}{found['detected']:>10}{found['harmless']:>10}"
        f"{found['silent']:>8}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
