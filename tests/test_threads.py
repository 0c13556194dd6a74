"""Threads that are started and waited for while Ctrl-C may come between any two instructions."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref

import pytest

from ckptmgr.threads import Latch, Worker


def test_a_latch_lets_everybody_go() -> None:
    latch = Latch()
    assert not latch.wait(0)
    assert not latch.wait(0.01)
    waiting = [threading.Thread(target=latch.wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    latch.set()
    latch.set()
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()
    assert latch.wait(0)


def test_work_is_done_in_another_thread() -> None:
    done_in: list[threading.Thread] = []
    worker = Worker(lambda: done_in.append(threading.current_thread()), "at-work", daemon=True)
    assert worker.start()
    worker.wait()
    assert done_in == [worker.thread]
    assert (worker.thread.name, worker.thread.daemon) == ("at-work", True)
    assert not worker.thread.is_alive()


def test_what_is_called_off_is_not_done() -> None:
    done: list[int] = []
    worker = Worker(lambda: done.append(1), "called-off")
    assert worker.call_off()
    worker.start()
    worker.thread.join(30)
    # As often as one likes, for an interrupt may come in the middle of it.
    assert worker.call_off()
    worker.end()
    assert done == []


def test_what_has_begun_cannot_be_called_off() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(30)

    worker = Worker(work, "begun")
    worker.start()
    assert begun.wait(30)
    assert not worker.call_off()
    threading.Timer(0.1, may_end.set).start()
    worker.end()
    assert may_end.is_set()
    assert not worker.thread.is_alive()


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_where_python_starts_no_more_threads(
    monkeypatch: pytest.MonkeyPatch, in_main_thread: bool
) -> None:
    worker = Worker(lambda: None, "never")
    started: list[bool] = []
    other = threading.Thread(target=lambda: started.append(worker.start()))
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread is worker.thread:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    if in_main_thread:
        started.append(worker.start())
    else:
        other.start()
        other.join()
    assert started == [False]
    worker.end()


def test_interrupts_while_threads_start_leave_none_hanging() -> None:
    """`Thread.start` waits with an Event: interrupted there, its thread may hang for ever."""
    program = """
import random, signal, time
from ckptmgr.threads import Worker

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
for _ in range(1000):
    worker = Worker(lambda: None, "work")
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-4))
            worker.start()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    worker.end()
print(interrupted)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert int(ended.stdout) > 10


def test_what_was_called_off_keeps_nothing() -> None:
    class Held:
        def work(self) -> None:
            pass

    held = Held()
    worker = Worker(held.work, "never started")
    kept = weakref.ref(held)
    del held
    assert worker.call_off()
    assert kept() is None
