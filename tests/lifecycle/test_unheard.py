"""What becomes of a failure in the background that nobody has heard of when the process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ckptmgr
from tests.lifecycle.children import PRELUDE, run

FAILED = """
import atexit
atexit.register(lambda: tell("an earlier handler"))
def fail():
    manager = CheckpointManager(state, directory, asynchronous=True, storage=Full())
    return manager, manager.save(1)
manager, handle = fail()
atexit.register(lambda: tell("a later handler"))
"""
TOLD = ["a later handler", "an earlier handler"]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 120),
        ("del manager, handle; gc.collect()", 120),
        ("sys.exit(0)", 120),
        ("sys.stderr = None", 120),
        ("sys.stderr.close()", 120),
        ("print('no newline', end='')", 120),
        ("raise ValueError('of the program')", 1),
        ("os._exit(3)", 3),
        ("send(signal.SIGKILL)", -9),
    ],
)
def test_it_is_printed_and_makes_the_status(tmp_path: Path, end: str, status: int) -> None:
    found, lines, err = run(FAILED + end, tmp_path)
    assert found == status
    if status in {3, -9}:
        assert (lines, err) == ([], "")
        return
    assert lines == (["no newline" + TOLD[0], *TOLD[1:]] if "no newline" in end else TOLD)
    if "stderr" in end:
        return
    assert err.count("Traceback") == 1 + (status == 1)
    assert "ValueError: of the program" in err or status != 1
    assert (
        f"ckptmgr: saving {tmp_path}/model.ckpt-1 in the background failed, and neither a later "
        "save, nor wait() nor close() has told of it:\nTraceback (most recent call last):\n"
    ) in err
    assert err.endswith("No space left on device\n")


HEARD = """
for ask in (manager.wait, handle.wait, manager.close):
    try:
        ask()
    except errors.StorageError as error:
        tell("heard")
"""


@pytest.mark.parametrize(
    ("end", "status", "lines"),
    [
        (HEARD, 0, ["heard", "heard", *TOLD]),
        ("atexit.register(lambda: tell(type(pause()).__name__))", 0, ["StorageError", *TOLD]),
        ("handle.wait()", 1, TOLD),
        ("try:\n    handle.wait()\nexcept Exception:\n    sys.exit(3)", 3, TOLD),
    ],
)
def test_what_was_heard_of_is_told_once(
    tmp_path: Path, end: str, status: int, lines: list[str]
) -> None:
    pause = "def pause():\n    try:\n        manager.close()\n    except Exception as error:\n"
    found, told, err = run(FAILED + pause + "        return error\n" + end, tmp_path)
    assert (found, told) == (status, lines)
    assert "in the background" not in err
    assert err.count("Traceback") == (status == 1)


FORK = """
while not handle.is_done:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    sys.exit(0)
tell(os.waitpid(child, 0)[1])
try:
    manager.close()
except errors.StorageError:
    tell("heard")
"""


def test_a_fork_has_no_part_in_it(tmp_path: Path) -> None:
    status, lines, err = run(FAILED + FORK, tmp_path)
    assert (status, lines, err) == (0, [*TOLD, "0", "heard", *TOLD], "")


CHILD = """
import multiprocessing

def work(end):
    storage = Full()
    manager = CheckpointManager(state, directory, asynchronous=True, storage=storage)
    manager.save(1)
    if end == "raise":
        raise ValueError("of the child")
    if end == "exit":
        sys.exit(3)
    if end == "hear":
        try:
            manager.close()
        except errors.StorageError:
            pass

if __name__ == "__main__":
    for end in sys.argv[2:]:
        child = multiprocessing.get_context({method!r}).Process(target=work, args=(end,))
        child.start()
        child.join()
        tell(end, child.exitcode)
"""


@pytest.mark.parametrize(
    ("method", "ends"),
    [("fork", {"": 0, "hear": 0, "raise": 1, "exit": 3}), ("spawn", {"": 120})],
)
def test_a_child_of_multiprocessing(tmp_path: Path, method: str, ends: dict[str, int]) -> None:
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + CHILD.replace("{method!r}", repr(method)))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), *ends],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.splitlines() == [f"{end} {status}" for end, status in ends.items()]
    assert done.returncode == 0
    assert done.stderr.count("in the background failed") == len(ends) - ("hear" in ends)
    assert done.stderr.count("ValueError: of the child") == ("raise" in ends)


ENDS = """
class EndsFirst(PosixStorage):
    def make_dirs(self, path):
        threading.main_thread().join()  # the first thing that a save does
        return super().make_dirs(path)

state = {"w": np.arange(5_000_000.0)}
manager = CheckpointManager(state, directory, asynchronous=True, storage=EndsFirst())
manager.save(1)
"""


def test_a_save_outlives_the_main_thread(tmp_path: Path) -> None:
    assert run(ENDS, tmp_path) == (0, [], "")
    assert ckptmgr.load_variable(tmp_path, "w")[-1] == 4_999_999
