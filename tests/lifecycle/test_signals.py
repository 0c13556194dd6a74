"""What our signal handler leaves of what was there before it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lifecycle.children import run

MANAGER = "manager = CheckpointManager(state, directory, save_on_signal={signals})\n"
TERM = MANAGER.replace("{signals}", "True")
INT = MANAGER.replace("{signals}", "signal.SIGINT")

CHAINED = f"""
def before(number, frame):
    tell("before", number, frame is not None)
signal.signal(signal.SIGTERM, before)
{TERM}
send()
send()
tell(bool(manager.save(1)), manager.preempted)
send()
manager.close()
tell(signal.getsignal(signal.SIGTERM) is before)
"""

DEFAULT = f"""
{TERM}
send()
send()  # perhaps the same notice by another way: not while the save is owed
tell(bool(manager.save(1)))
send()
tell("not reached")
"""

IGNORED = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{TERM}
send()
tell(bool(manager.save(1)), manager.preempted)
send()
manager.close()
tell(signal.getsignal(signal.SIGTERM).name)
"""

# A shell has the programs that it starts in the background ignore SIGINT.
CTRL_C = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
{INT}
send(signal.SIGINT)
tell(manager.preempted)
try:
    send(signal.SIGINT)
except KeyboardInterrupt:
    tell("interrupted")
manager.close()
tell(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""

IN_A_THREAD = """
def make():
    try:
        CheckpointManager(state, directory, save_on_signal=True)
    except errors.InvalidArgument as error:
        tell(error)
thread = threading.Thread(target=make, name="trainer")
thread.start()
thread.join()
tell(signal.getsignal(signal.SIGTERM).name)
"""

CLOSED_IN_A_THREAD = f"""
{TERM}
thread = threading.Thread(target=manager.close)
thread.start()
thread.join()
send()
tell("not reached")
"""

FORGOTTEN = f"""
{TERM}
del manager
gc.collect()
send()
tell("not reached")
"""

DISPLACED = f"""
{TERM}
ours = signal.getsignal(signal.SIGTERM)
def on_top(number, frame):
    tell("on top")
    ours(number, frame)
signal.signal(signal.SIGTERM, on_top)
second = CheckpointManager(state, directory, save_on_signal=True)
send()
tell(bool(manager.save(1)), bool(second.save(2)))
manager.close()
second.close()
tell(signal.getsignal(signal.SIGTERM) is on_top)
send()
tell("not reached")
"""

REPLACED = f"""
{TERM}
def other(number, frame):
    tell("other")
signal.signal(signal.SIGTERM, other)
manager.close()
tell(signal.getsignal(signal.SIGTERM) is other)
"""

FORKED = f"""
{TERM}
child = os.fork()
if child == 0:
    tell(signal.getsignal(signal.SIGTERM).name)
    time.sleep(30)
    os._exit(1)
time.sleep(0.3)
os.kill(child, signal.SIGTERM)
tell(os.waitpid(child, 0)[1])
tell(manager.preempted, manager.should_save(1), manager.save(1) is not None, manager.preempted)
send()
tell(manager.should_save(2), manager.save(2) is not None, manager.preempted)
"""

# The handler that reaches the fork before anything else runs there.
FORKED_AND_NOT_PUT_BACK = f"""
import weakref
from ckptmgr.lifecycle import signals
{TERM}
ours = signal.getsignal(signal.SIGTERM)
child = os.fork()
if child == 0:
    signals._watches.append(weakref.ref(manager._preemption._watch))
    signal.signal(signal.SIGTERM, ours)
    send()
    os._exit(1)
tell(os.waitpid(child, 0)[1])
"""


OTHER_THREAD = (
    "a manager with save_on_signal must be made in the main thread, the only one in which Python "
    "installs signal handlers; this is thread 'trainer'"
)


@pytest.mark.parametrize(
    ("program", "status", "lines"),
    [
        (CHAINED, 0, ["before 15 True"] * 2 + ["True True", "before 15 True", "True"]),
        (DEFAULT, -signal.SIGTERM, ["True"]),
        (IGNORED, 0, ["True True", "SIG_IGN"]),
        (CTRL_C, 0, ["False", "interrupted", "True"]),
        (IN_A_THREAD, 0, [OTHER_THREAD, "SIG_DFL"]),
        (CLOSED_IN_A_THREAD, -signal.SIGTERM, []),
        (FORGOTTEN, -signal.SIGTERM, []),
        (DISPLACED, -signal.SIGTERM, ["on top", "True True", "True", "on top"]),
        (REPLACED, 0, ["True"]),
        (FORKED, 0, ["SIG_DFL", "15", "False True True False", "True True True"]),
        (FORKED_AND_NOT_PUT_BACK, 0, ["15"]),
    ],
)
def test_what_was_there_before(tmp_path: Path, program: str, status: int, lines: list[str]) -> None:
    assert run(program, tmp_path) == (status, lines, "")
