"""What each process of a race does: writers, a pruner, a remover, readers, evaluators, holders.

All tell what they do, so that in the end it can be said of each checkpoint where it went:

    saved BASE           acknowledged
    deleting BASE        about to go, by whomever
    count NAME           something to be counted

A checkpoint's arrays hold one number, made of its step: two numbers, or that of another step, are a
torn read. Whatever a role does not expect ends it, and with it the race.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

import ckptmgr
from ckptmgr import CheckpointManager, CheckpointWatcher, errors, events, naming
from ckptmgr.lifecycle.catalog import list_prefixes
from ckptmgr.retention import BestN
from ckptmgr.storage import PosixStorage
from tests.torture.processes import Tell

#: Two writers share the first, and each other's steps.
SHARED, OTHER, PRUNER, SCRATCH = "model.ckpt", "other.ckpt", "pruner.ckpt", "scratch.ckpt"

_ELEMENTS = 30_000
_MODULUS = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where and how long a role plays."""

    directory: str
    #: By time.monotonic.
    until_secs: float
    #: Another one for each process that is started.
    number: int

    @property
    def dice(self) -> random.Random:
        return random.Random(self.number)

    def goes_on(self) -> bool:
        return time.monotonic() < self.until_secs


class _Announcing(PosixStorage):
    """Tells of a checkpoint before it goes."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def _announce(self, path: str) -> None:
        base = naming.prefix_of_index(os.path.basename(path))
        if base is not None:
            self._tell(f"deleting {base}")

    def unlink(self, path: str) -> None:
        self._announce(path)
        super().unlink(path)

    def rename(self, source: str, target: str) -> None:
        self._announce(source)  # a deletion begins by taking the index its name
        super().rename(source, target)


def make_state() -> dict[str, Any]:
    return {
        "weights": np.zeros(_ELEMENTS, "f4"),
        "moments": [np.zeros(_ELEMENTS // 3, "f8") for _ in range(3)],
        "frozen": np.arange(_ELEMENTS, dtype=np.int32),
    }


def fill(state: dict[str, Any], step: int) -> None:
    state["weights"][:] = step % _MODULUS
    for moment in state["moments"]:
        moment[:] = step


def require_whole(prefix: str, tensors: dict[str, Any]) -> None:
    """Raise AssertionError if these are not the tensors that were saved at that prefix."""
    step = naming.parse_step(prefix)
    assert step is not None
    assert np.all(tensors["weights"] == step % _MODULUS), f"{prefix} is torn"
    for number in range(3):
        assert np.all(tensors[f"moments/{number}"] == step), f"{prefix} is torn"
    assert np.array_equal(tensors["frozen"], np.arange(_ELEMENTS)), f"{prefix} is torn"


def _read(prefix: str) -> dict[str, Any]:
    with ckptmgr.load_checkpoint(prefix) as reader:
        return {name: reader.get_tensor(name) for name in ("frozen", *_CHANGING)}


_CHANGING = ("weights", "moments/0", "moments/1", "moments/2")


# --------------------------------------------------------------------------- those who save


def _listener(tell: Tell) -> Callable[[events.Event], None]:
    def listen(event: events.Event) -> None:
        match event:
            case events.SaveCommitted():
                tell(f"saved {naming.base_of(event.prefix)}")
            case events.DeletionDeferred():
                tell("count deferred deletions")
            case events.CheckpointSkipped() | events.StateRebuilt() | events.SaveFailed():
                tell(f"failed {event!r}")

    return listen


def _save_on_and_on(place: Place, tell: Tell, *, name: str, pause_secs: float, keep: int) -> None:
    dice = place.dice
    state = make_state()
    with CheckpointManager(
        state,
        place.directory,
        checkpoint_name=name,
        max_to_keep=keep,
        keep_best=BestN("loss") if dice.random() < 0.5 else None,
        asynchronous=dice.random() < 0.5,
        deduplicate=dice.random() < 0.5,
        on_event=_listener(tell),
        storage=_Announcing(tell),
    ) as manager:
        step = place.number * 10_000
        while place.goes_on():
            step += 1
            chosen = step
            if name == SHARED and dice.random() < 0.1:
                # Perhaps one that the other writer of this name saved, or is just about to delete.
                chosen = dice.choice(manager.all_steps() or [step])
                tell("count saved over")
            manager.wait_staged()
            fill(state, chosen)
            manager.save(chosen, metrics={"loss": dice.random()}, force=True)
            if name == PRUNER and len(manager.checkpoints) > keep + 1:  # and the best
                tell("count saves by the pruner that left alone what is held")
            time.sleep(dice.uniform(0, 2 * pause_secs))


def write_shared(place: Place, tell: Tell) -> None:
    _save_on_and_on(place, tell, name=SHARED, pause_secs=0.02, keep=20)


def write_other(place: Place, tell: Tell) -> None:
    _save_on_and_on(place, tell, name=OTHER, pause_secs=0.03, keep=20)


def write_scratch(place: Place, tell: Tell) -> None:
    _save_on_and_on(place, tell, name=SCRATCH, pause_secs=0.05, keep=20)


def prune(place: Place, tell: Tell) -> None:
    """Keep fewer than the others do, so that this one deletes what they saved."""
    _save_on_and_on(place, tell, name=PRUNER, pause_secs=0.2, keep=8)


# --------------------------------------------------------------------------- those who delete


def remove(place: Place, tell: Tell) -> None:
    """Delete scratch checkpoints without asking anybody."""
    dice = place.dice
    while place.goes_on():
        prefixes = list_prefixes(PosixStorage(), place.directory, SCRATCH)
        tell("alive")
        if prefixes:
            prefix = dice.choice(prefixes)
            tell(f"deleting {naming.base_of(prefix)}")
            ckptmgr.remove_checkpoint(prefix)
            tell("count removed by hand")
        time.sleep(dice.uniform(0, 0.3))


# --------------------------------------------------------------------------- those who read


def restore(place: Place, tell: Tell) -> None:
    """What a restart does, again and again."""
    dice = place.dice
    name = dice.choice([SHARED, OTHER])
    state = make_state()
    listener = _listener(tell)
    manager = CheckpointManager(state, place.directory, checkpoint_name=name, on_event=listener)
    while place.goes_on():
        time.sleep(dice.uniform(0, 0.02))
        tell("alive")
        steps = manager.all_steps() if dice.random() < 0.5 else []
        try:
            # Of the latest, there always is one, whatever goes meanwhile.
            restored = manager.restore(dice.choice(steps) if steps else None)
        except errors.CheckpointNotFound:
            if not steps:
                raise
            tell("count restores of a step that was just deleted")
            continue
        assert restored is not None
        moments = {f"moments/{n}": moment for n, moment in enumerate(state["moments"])}
        require_whole(restored.path, {**state, **moments})
        tell("count restores")


def evaluate(place: Place, tell: Tell) -> None:
    """Follow the directory, and fall far behind at times."""
    dice = place.dice
    holds, slow_secs = dice.random() < 0.5, dice.choice([0.0, 0.1, 3.0])
    for prefix in dice.choice([_watch, _iterate])(place, tell):
        try:
            with ckptmgr.hold(prefix) if holds else nullcontext():
                require_whole(prefix, _read(prefix))
                tell("count evaluations")
                time.sleep(dice.uniform(0, slow_secs))
                if holds and not _is_scratch(prefix):
                    require_whole(prefix, _read_held(prefix))
        except errors.CheckpointNotFound:
            tell("count evaluations that came too late")


def _watch(place: Place, tell: Tell) -> Iterator[str]:
    every = place.dice.random() < 0.5
    with CheckpointWatcher(place.directory, every=every, poll_interval_secs=0.2) as watcher:
        while place.goes_on():
            tell("alive")
            prefix = watcher.wait(0.5)
            if prefix is not None:
                yield prefix


def _iterate(place: Place, tell: Tell) -> Iterator[str]:
    def ends() -> bool:
        tell("alive")
        return not place.goes_on()

    return ckptmgr.checkpoints_iterator(place.directory, timeout=0.5, timeout_fn=ends)


def hold(place: Place, tell: Tell) -> None:
    """Hold what others want to delete."""
    dice = place.dice
    while place.goes_on():
        tell("alive")
        names = [SHARED, OTHER, PRUNER]
        prefixes = [p for n in names for p in list_prefixes(PosixStorage(), place.directory, n)]
        if not prefixes:
            continue
        prefix = dice.choice(prefixes)
        try:
            holding = ckptmgr.hold(prefix)
            holding.__enter__()
        except errors.CheckpointNotFound:
            tell("count holds that came too late")
            continue
        tell("count holds")
        time.sleep(dice.choice([0.0, 0.1, 2.0]) * dice.random())
        require_whole(prefix, _read_held(prefix))
        holding.__exit__(None, None, None)


def _read_held(prefix: str) -> dict[str, Any]:
    try:
        return _read(prefix)
    except errors.CheckpointNotFound as error:
        raise AssertionError(f"{prefix} was deleted while it was held: {error}") from error


def _is_scratch(prefix: str) -> bool:
    return naming.base_of(prefix).startswith(SCRATCH)


Role = Callable[[Place, Tell], None]

#: Name, what it does, how many at a time.
CAST: tuple[tuple[str, Role, int], ...] = (
    ("writer of one name", write_shared, 2),
    ("writer of another name", write_other, 1),
    ("writer of what is removed by hand", write_scratch, 1),
    ("pruner", prune, 1),
    ("remover", remove, 1),
    ("reader", restore, 3),
    ("evaluator", evaluate, 4),
    ("holder", hold, 3),
)


def play(role: Role, place: Place) -> Callable[[Tell], None]:
    """The role, ready for a process of its own."""

    def run(tell: Tell) -> None:
        # That the newest was removed by hand is part of the play.
        logging.getLogger("ckptmgr").setLevel(logging.ERROR)
        role(place, tell)

    return run
