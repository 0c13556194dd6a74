"""Signals that are sent to training: what it saves, how long that may take, and when it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors
from tests.lifecycle.children import run, start

LOOP = """
with CheckpointManager(state, directory, save_interval_steps=10**9, save_on_signal=True) as manager:
    for step in range(1, 10**9):
        state["w"][:] = step
        manager.save(step)
        if step == 3:
            tell("trains")
        if manager.preempted:
            tell(step)
            break
        time.sleep(0.001)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_loop_saves_and_leaves(tmp_path: Path, number: signal.Signals) -> None:
    with start(LOOP, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trains\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    latest = ckptmgr.latest_checkpoint(tmp_path)
    assert latest == str(tmp_path / f"model.ckpt-{int(out)}")
    assert np.unique(ckptmgr.load_variable(latest, "w")).tolist() == [int(out)]


IN_FLIGHT = """
storage = Gate()
manager = CheckpointManager(
    state, directory, save_interval_steps=10, asynchronous=True, storage=storage,
    save_on_signal=True, {arguments}
)
storage.opened.clear()
handle = manager.save(10)
tell(handle.is_done, manager.should_save(11), manager.preempted)
send()
tell(handle.is_done, manager.should_save(11), manager.preempted)
threading.Timer(0.1, storage.opened.set).start()
handle = manager.save(11)
tell(handle.is_done, manager.preempted, manager.all_steps())
tell(manager.should_save(12), manager.should_save(20), manager.save(12))
manager.close()
"""

DURING = """
seen = []
def listen(event):
    seen.append(type(event).__name__)
    if isinstance(event, events.{event}):
        send()
    if isinstance(event, events.Preempted):
        name = os.path.basename(event.prefix)
        tell(name, event.step, event.signal_number, 0 <= event.delay_secs < 5)
manager = CheckpointManager(
    state, directory, on_event=listen, save_on_signal=(signal.SIGTERM,), **{arguments}
)
manager.save(10)
tell(manager.preempted, manager.all_steps(), seen.count("SaveStarted"))
manager.close()
"""

SAME_STEP = """
manager = CheckpointManager(state, directory, save_on_signal=signal.SIGTERM)
first = manager.save(10)
send()
tell(manager.should_save(10), manager.should_save(11), manager.save(10), manager.preempted)
"""

SEVERAL = """
managers = [
    CheckpointManager(
        state, f"{directory}/{n}", save_interval_steps=100, save_on_signal=(signal.SIGUSR1,)
    )
    for n in range(3)
]
managers[0].close()
send(signal.SIGUSR1)
for manager in managers[1:]:
    tell(manager.preempted, bool(manager.save(7)), manager.preempted)
    manager.close()
tell(signal.getsignal(signal.SIGUSR1).name)
"""

RETRIED = """
storage = Full()
manager = CheckpointManager(
    state, directory, save_on_signal=True, storage=storage, **{arguments}
)
send()
try:
    manager.save(1)
except errors.StorageError:
    tell("failed", manager.preempted, manager.should_save(1))
Full.create = PosixStorage.create
tell(bool(manager.save(1)), manager.preempted)
"""

ASYNCHRONOUS = "{'asynchronous': True}"


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        (
            IN_FLIGHT.replace("{arguments}", arguments),
            [
                "False False False",
                "False True False",
                "True True [10, 11]",
                "False True None",
            ],
        )
        for arguments in ("preemption_grace_secs=60", "when_busy='skip'")
    ]
    + [
        (
            DURING.replace("{event}", event).replace("{arguments}", arguments),
            ["model.ckpt-10 10 15 True", "True [10] 1"],
        )
        for event, arguments in (
            ("SaveWritten", "{}"),
            ("SaveStarted", ASYNCHRONOUS),
            ("SaveStarted", "{'preemption_grace_secs': 60}"),
        )
    ]
    + [
        (SAME_STEP, ["False True None True"]),
        (SEVERAL, ["False True True", "False True True", "SIG_DFL"]),
    ]
    + [
        (RETRIED.replace("{arguments}", arguments), ["failed False True", "True True"])
        for arguments in ("{}", ASYNCHRONOUS)
    ],
)
def test_what_is_saved(tmp_path: Path, program: str, lines: list[str]) -> None:
    assert run(program, tmp_path) == (0, lines, "")


# --------------------------------------------------------------------------- the grace

TOO_LATE = "could not be saved within the 0.2 s of grace after SIGTERM"

TOO_SLOW = """
storage = Gate()
manager = CheckpointManager(
    state, directory, save_interval_steps=10, storage=storage, save_on_signal=True,
    preemption_grace_secs=0.2, **{arguments}
)
manager.save(10)
manager.wait()
storage.opened.clear()
if {in_flight}:
    manager.save(20)
send()
if {late}:
    time.sleep(0.3)
try:
    manager.save(21)
except errors.GraceExceeded as error:
    tell(error)
tell(manager.preempted)
state["w"][:] = 7
storage.opened.set()
manager.close()
tell(manager.all_steps(), [name for name in os.listdir(directory) if ".tmp-" in name])
tell(manager.stats.failures)
"""


@pytest.mark.parametrize(
    ("arguments", "in_flight", "late"),
    [
        ("{}", False, False),
        ("{}", False, True),
        (ASYNCHRONOUS, False, False),
        (ASYNCHRONOUS, True, False),
    ],
)
def test_a_save_that_takes_too_long_is_given_up(
    tmp_path: Path, arguments: str, in_flight: bool, late: bool
) -> None:
    program = TOO_SLOW.replace("{arguments}", arguments)
    program = program.replace("{in_flight}", str(in_flight)).replace("{late}", str(late))
    assert run(program, tmp_path) == (
        0,
        [
            f"step 21 {TOO_LATE}; the checkpoint of step 10 stands",
            "True",
            "[10] []",
            "0" if late else "1",  # when it is too late nothing is begun
        ],
        "",
    )


GIVEN_UP_AND_AGAIN = """
storage = Gate()
manager = CheckpointManager(
    state, directory, storage=storage, save_on_signal=True, preemption_grace_secs=0.2
)
storage.opened.clear()
send()
try:
    manager.save(1)
except errors.GraceExceeded as error:
    tell(error)
state["w"][:] = 7
threading.Timer(0.1, storage.opened.set).start()
tell(bool(manager.save(1)), manager.all_steps())
"""


def test_what_was_given_up_can_be_saved_again(tmp_path: Path) -> None:
    expected = [f"step 1 {TOO_LATE}; nothing was saved before", "True [1]"]
    assert run(GIVEN_UP_AND_AGAIN, tmp_path) == (0, expected, "")
    assert ckptmgr.load_variable(tmp_path, "w").tolist() == [7, 7, 7]


# --------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_on_signal": ()}, "save_on_signal must be True, False, or signals"),
        ({"save_on_signal": ("SIGTERM",)}, "save_on_signal must be True, False, or signals"),
        ({"save_on_signal": None}, "found None"),
        ({"save_on_signal": signal.SIGKILL}, "signals that can be handled"),
        ({"preemption_grace_secs": 5}, "preemption_grace_secs needs save_on_signal"),
        (
            {"save_on_signal": True, "preemption_grace_secs": 0},
            "preemption_grace_secs must be a positive number or None, found 0",
        ),
    ],
)
def test_arguments_that_cannot_be_meant(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(errors.InvalidArgument, match=message):
        CheckpointManager(None, tmp_path, **arguments)
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_signals_nothing_is_installed(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with CheckpointManager({"w": np.zeros(1)}, tmp_path) as manager:
        assert signal.getsignal(signal.SIGTERM) is before
        assert manager.preempted is False
    assert os.listdir(tmp_path) == []
