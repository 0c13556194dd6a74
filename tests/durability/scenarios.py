"""The operations whose every failure is looked at, each with what was there before and after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ckptmgr import hold, remove_checkpoint, update_checkpoint_state
from ckptmgr.storage import Storage
from tests.durability.processes import (
    DIRECTORY,
    NAME,
    Acknowledge,
    Bystander,
    Process,
    SaverProcess,
    Trainer,
    value_of,
)

Start = Callable[[Storage], Any]


@dataclass(frozen=True)
class Scenario:
    """One operation.

    What stands before it are the steps that `prepare` saved and that were not given up.
    """

    name: str
    #: Makes what stands before; whatever it does is on stable storage.
    prepare: Callable[[Storage], None]
    #: The process that does it.
    start: Start
    #: Does it, and calls back when the user was told that it is done.
    act: Callable[[Any, Acknowledge], None]
    #: What stands, by step, and which of it was saved last.
    before: dict[int, float]
    newest: int | None
    #: What the operation saves: a step and its value.
    saves: tuple[int, float] | None = None
    #: What may go: with `saves`, as soon as that is there and named; otherwise at any time.
    gives_up: frozenset[int] = frozenset()
    #: What need not be named as the newest: what an `update_checkpoint_state` may name.
    may_name: frozenset[int] = frozenset()
    #: Who saves after a failure.
    recover: Start = Trainer
    #: Kept by what saves afterwards, besides the two newest; None: not looked at.
    kept_later: frozenset[int] | None = frozenset()
    #: Steps that stay once the operation was acknowledged, whatever is saved afterwards.
    pins: frozenset[int] = frozenset()
    #: Whether the process that has done it does no more.
    ends: bool = False
    #: Another process that lives at the same time.
    beside: Callable[[Storage], AbstractContextManager[Any]] | None = None


def _saved(steps: list[int], storage: Storage, start: Start = Trainer) -> None:
    process: Process = start(storage)
    for step in steps:
        process.save(step)
    process.close()


def _save(step: int, generation: int, process: Process, acknowledge: Acknowledge) -> None:
    process.save(step, generation)
    acknowledge()


def _values(*steps: int) -> dict[int, float]:
    return {step: value_of(step) for step in steps}


def _save_scenario(
    name: str,
    step: int = 4,
    generation: int = 0,
    *,
    options: dict[str, Any] | None = None,
    before: tuple[int, ...] = (2, 3),
    gives_up: tuple[int, ...] = (2,),
    kept_later: tuple[int, ...] = (),
    prepare_options: dict[str, Any] | None = None,
    steps: tuple[int, ...] = (1, 2, 3),
) -> Scenario:
    start = partial(Trainer, **(options or {}))
    prepare_start = start if prepare_options is None else partial(Trainer, **prepare_options)
    return Scenario(
        name,
        prepare=partial(_saved, list(steps), start=prepare_start),
        start=start,
        act=partial(_save, step, generation),
        before=_values(*before),
        newest=max(before, default=None),
        saves=(step, value_of(step, generation)),
        gives_up=frozenset(gives_up),
        recover=start if prepare_options is None else Trainer,
        kept_later=frozenset(kept_later),
    )


def _saver_scenario(name: str, step: int = 4, **options: Any) -> Scenario:
    start: Start = partial(SaverProcess, **options)

    def taking_over(storage: Storage) -> SaverProcess:
        process: SaverProcess = start(storage)
        process.take_over([2, 3])
        return process

    replaces = step in (2, 3)
    return Scenario(
        name,
        prepare=partial(_saved, [1, 2, 3], start=start),
        start=taking_over,
        act=partial(_save, step, int(replaces)),
        before=_values(2, 3),
        newest=3,
        saves=(step, value_of(step, int(replaces))),
        gives_up=frozenset() if replaces else frozenset({2}),
        recover=start,
        kept_later=None,
    )


def _pin(process: Trainer, acknowledge: Acknowledge) -> None:
    process.manager.pin(2)
    acknowledge()


def _unpin(process: Trainer, acknowledge: Acknowledge) -> None:
    process.manager.unpin(2)
    acknowledge()


def _pinned(storage: Storage) -> None:
    process = Trainer(storage)
    for step in (1, 2, 3):
        process.save(step)
    process.manager.pin(2)
    process.close()


def _finish(process: Trainer, acknowledge: Acknowledge) -> None:
    process.manager.finish()
    acknowledge()


def _name_two(process: Bystander, acknowledge: Acknowledge) -> None:
    two, three = f"{NAME}-2", f"{NAME}-3"
    update_checkpoint_state(
        DIRECTORY,
        two,
        [three, two],
        all_model_checkpoint_timestamps=[900.0, 901.0],
        storage=process.storage,
    )
    acknowledge()


def _remove_two(process: Bystander, acknowledge: Acknowledge) -> None:
    remove_checkpoint(f"{NAME}-2", storage=process.storage)
    acknowledge()


def _hold_two(process: Bystander, acknowledge: Acknowledge) -> None:
    with hold(f"{NAME}-2", storage=process.storage):
        acknowledge()


def _holding(step: int, storage: Storage) -> AbstractContextManager[Any]:
    return hold(f"{NAME}-{step}", storage=storage)


def _bystander_scenario(
    name: str, act: Callable[[Any, Acknowledge], None], **more: Any
) -> Scenario:
    prepare = partial(_saved, [1, 2, 3])
    return Scenario(name, prepare, Bystander, act, _values(2, 3), 3, **more)


def _trainer_scenario(name: str, act: Callable[[Any, Acknowledge], None], **more: Any) -> Scenario:
    given = {"prepare": partial(_saved, [1, 2, 3]), "start": Trainer, **more}
    return Scenario(name, act=act, before=_values(2, 3), newest=3, **given)


_PRESERVING = {"keep_every_n_steps": 2}

SCENARIOS = [
    _save_scenario("the first save", 4, before=(), gives_up=(), steps=()),
    _save_scenario("a new step"),
    _save_scenario("over the newest", 3, 1, gives_up=()),
    _save_scenario("over an older one", 2, 1, gives_up=()),
    _save_scenario(
        "preserving", options=_PRESERVING, before=(2, 3), gives_up=(), kept_later=(2, 4, 20)
    ),
    _save_scenario(
        "over a preserved one",
        2,
        1,
        options=_PRESERVING,
        before=(2, 4, 5),
        gives_up=(),
        kept_later=(2, 4, 20),
        steps=(1, 2, 3, 4, 5),
    ),
    _save_scenario("asynchronous", options={"asynchronous": True}),
    _save_scenario(
        "copying in the background", options={"asynchronous": True, "copy_in_background": True}
    ),
    _save_scenario("deduplicating", options={"deduplicate": True}),
    _save_scenario(
        "deduplicating over the newest", 3, 1, options={"deduplicate": True}, gives_up=()
    ),
    _save_scenario(
        "many deletions",
        6,
        options={"max_to_keep": 1},
        prepare_options={"max_to_keep": None},
        before=(1, 2, 3),
        gives_up=(1, 2, 3),
    ),
    _saver_scenario("Saver, a new step"),
    _saver_scenario("Saver, over the newest", 3),
    _saver_scenario("Saver, sharded", sharded=True),
    _saver_scenario("Saver, sharded, over the newest", 3, sharded=True),
    _saver_scenario("Saver, V1", write_version=1),
    _saver_scenario("Saver, V1, over the newest", 3, write_version=1),
    _saver_scenario("Saver, V1 sharded", write_version=1, sharded=True),
    _trainer_scenario("pin", _pin, pins=frozenset({2})),
    _trainer_scenario("unpin", _unpin, prepare=_pinned, kept_later=None),
    _trainer_scenario("finish", _finish, ends=True),
    _bystander_scenario("update_checkpoint_state", _name_two, may_name=frozenset({2})),
    _bystander_scenario("remove_checkpoint", _remove_two, gives_up=frozenset({2})),
    _bystander_scenario("hold", _hold_two),
    _trainer_scenario(
        "a new step, the oldest held",
        partial(_save, 4, 0),
        saves=(4, value_of(4)),
        beside=partial(_holding, 2),
        kept_later=frozenset({2}),
    ),
]

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
