"""Locks between processes; what holds between threads is in the contract of every storage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptmgr
from ckptmgr import errors
from ckptmgr.storage import PosixStorage

SOURCE = str(Path(ckptmgr.__file__).parents[1])

HOLD = """
import sys
from ckptmgr.storage import PosixStorage
lock = PosixStorage().lock(sys.argv[1])
if not lock.try_acquire():
    print("waiting", flush=True)
    lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("free", flush=True)
sys.stdin.readline()
"""

# The child of the fork outlives the owner, and tries the lock that it inherited.
HOLD_AND_FORK = """
import os, sys
from ckptmgr.storage import PosixStorage
lock = PosixStorage().lock(sys.argv[1])
lock.acquire()
child = os.fork()
if child == 0:
    lock.release()
    print("child", lock.try_acquire(), flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(child, 0)
"""

COUNT = """
import sys
from ckptmgr.storage import PosixStorage
storage = PosixStorage()
directory = sys.argv[1]
for _ in range(int(sys.argv[2])):
    with storage.lock(directory + "/lock"):
        with open(directory + "/count") as file:
            count = int(file.read())
        with open(directory + "/count", "w") as file:
            file.write(str(count + 1))
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def send_line(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/lock"


@pytest.fixture
def holder(path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with start(HOLD, path) as process:
        assert line_of(process) == "held"
        yield process
        process.kill()


def test_another_process_is_excluded(path: str, holder: subprocess.Popen[str]) -> None:
    lock = PosixStorage().lock(path)
    assert not lock.try_acquire()
    with pytest.raises(errors.LockTimeout, match=f"cannot lock {path}: .* after 0.05 s"):
        lock.acquire(0.05)
    send_line(holder)
    lock.acquire(30)
    assert line_of(holder) == "free"
    assert holder.poll() is None
    lock.release()


def test_this_process_excludes_another(path: str) -> None:
    with PosixStorage().lock(path):
        process = start(HOLD, path)
        assert line_of(process) == "waiting"
    with process:
        assert line_of(process) == "held"
        assert not PosixStorage().lock(path).try_acquire()
        send_line(process)
        assert line_of(process) == "free"
        send_line(process)
    assert process.returncode == 0


def test_the_lock_of_a_killed_process_is_free(path: str, holder: subprocess.Popen[str]) -> None:
    lock = PosixStorage().lock(path)
    assert not lock.try_acquire()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.try_acquire()
    lock.release()
    assert os.path.exists(path)


def test_a_forked_child_neither_holds_nor_frees_its_parents_lock(path: str) -> None:
    lock = PosixStorage().lock(path)
    with start(HOLD_AND_FORK, path) as owner:
        assert line_of(owner) == "child False"
        assert not lock.try_acquire()
        owner.kill()
        owner.wait()
        # The child is still there, waiting for the end of its input.
        assert lock.try_acquire()
    lock.release()


def test_processes_under_a_lock_take_turns(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    processes = [start(COUNT, str(tmp_path), "40") for _ in range(3)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert (tmp_path / "count").read_text() == "120"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("data")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(errors.StorageError, match=f"cannot lock {tmp_path}/lock: "):
        PosixStorage().lock(f"{tmp_path}/lock").acquire(1)


def test_a_dropped_lock_is_released(path: str) -> None:
    lock = PosixStorage().lock(path)
    lock.acquire()
    del lock
    assert PosixStorage().lock(path).try_acquire()


def test_an_attempt_in_vain_does_not_forget_what_is_held(path: str) -> None:
    lock = PosixStorage().lock(path)
    with lock:
        assert not lock.try_acquire()
        assert not PosixStorage().lock(path).try_acquire()
    assert PosixStorage().lock(path).try_acquire()


def test_a_lock_whose_file_was_removed_excludes_who_comes_later(path: str) -> None:
    """Between its opening and its locking another process may have removed it."""
    opened = os.open

    def removed(name: str, flags: int, mode: int = 0o777) -> int:
        fd = opened(name, flags, mode)
        if name == path and os.path.exists(path):
            os.unlink(path)
            patch.undo()
        return fd

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", removed)
        lock = PosixStorage().lock(path)
        lock.acquire(30)
    assert not PosixStorage().lock(path).try_acquire()
    lock.release()


def test_interrupts_leave_the_locks_to_others() -> None:
    """What Ctrl-C comes in the middle of must neither stay locked nor hang other threads."""
    program = """
import os, random, signal, tempfile, threading, time
from ckptmgr.storage import PosixStorage

def interrupt(number, frame):
    raise KeyboardInterrupt

def take_turns():
    for _ in range(2):
        with storage.lock(path):
            pass

def fails_to_lock():
    locked = []
    other = threading.Thread(target=lambda: locked.append(storage.lock(path).acquire(10)))
    other.daemon = True
    other.start()
    other.join(20)
    return not locked

signal.signal(signal.SIGALRM, interrupt)
storage = PosixStorage()
path = os.path.join(tempfile.mkdtemp(), "lock")
take_turns()
began_secs = time.perf_counter()
take_turns()
span_secs = time.perf_counter() - began_secs
interrupted = 0
for _ in range(600):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, span_secs))
            take_turns()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    if fails_to_lock():
        print("hangs", flush=True)
        os._exit(1)
print(interrupted)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        timeout=120,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ended.stdout != "hangs\n"
    assert int(ended.stdout) > 10


def test_reading_loads_no_lock_library() -> None:
    script = "import sys, ckptmgr.storage; print('filelock' in sys.modules)"
    with start(script) as process:
        assert line_of(process) == "False"
    with start(f"import filelock; {script}") as process:
        assert line_of(process) == "True"
