"""Saves in a thread of their own, one at a time, whose failures somebody hears of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

from ckptmgr import errors
from ckptmgr.lifecycle import unheard
from ckptmgr.threads import Latch, Worker


class SaveHandle(str):  # noqa: SLOT000 - it carries the state of a save
    """The prefix of a checkpoint that is being saved, and the means to wait for it."""

    def __init__(self, prefix: str) -> None:  # noqa: ARG002 - str takes it in __new__
        super().__init__()
        self._staged = Latch()
        self._done = Latch()
        self._failure: BaseException | None = None
        self._is_heard = False
        self._is_given_up = False
        self._worker: Worker | None = None
        #: Where what is done now is done: first with the caller, who may make a copy.
        self._thread = threading.current_thread()
        self._process_id = os.getpid()
        #: Names this save among those whose failure nobody has heard of.
        self._key = object()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        # Another process, or a copy, has no save to wait for: it gets the prefix.
        return str, (str(self),)

    @property
    def is_staged(self) -> bool:
        """Whether the state was copied, so that it may change."""
        return self._staged.is_set

    @property
    def is_done(self) -> bool:
        """Whether the save has succeeded or failed."""
        return self._done.is_set

    @property
    def is_running(self) -> bool:
        """Whether it is under way in this process; a fork has no part in the thread."""
        return not self.is_done and os.getpid() == self._process_id

    @property
    def has_failed(self) -> bool:
        """Whether it is known that there will be no checkpoint."""
        return self._is_given_up or self._failure is not None

    @property
    def is_within(self) -> bool:
        """Whether this is the thread that saves, where a listener may run."""
        return threading.current_thread() is self._thread and self.is_running

    def wait_staged(self) -> None:
        """Return when the state may be changed; what fails later is not waited for."""
        if not self._is_out_of_reach:
            self._staged.wait()

    def wait(self) -> None:
        """Return when the checkpoint is committed; raises what its save raised.

        Does nothing in the save's own thread, where a listener may run, and in a fork, which the
        thread is not part of.
        """
        if self._is_out_of_reach:
            return
        self._done.wait()
        self._hear()
        if self._failure is not None:
            raise self._failure

    def raise_unheard(self) -> None:
        """`wait`, but an error that was heard of before is not raised again."""
        if not self._is_heard:
            self.wait()
        elif not self._is_out_of_reach:
            self._done.wait()

    def ends_within(self, timeout_secs: float | None) -> bool:
        """Wait so long, and say whether the save has ended; if it has not, it is given up.

        One that was given up leaves no checkpoint, unless it was just making it exist.
        """
        if not self._is_out_of_reach and not self._done.wait(timeout_secs):
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Let the save fail as soon as it notices; nobody else is told of that."""
        self._is_given_up = True
        self._hear()

    def refuse_given_up(self) -> None:
        """Raise if the save was given up."""
        if self._is_given_up:
            raise errors.GraceExceeded(f"the save of {self} was given up")

    def staged(self) -> None:
        self._staged.set()

    def run(self, job: Callable[[], None]) -> None:
        """Do the job here and now; an error is raised."""
        self._is_heard = True
        try:
            job()
        finally:
            self._staged.set()
            self._done.set()

    def start(self, job: Callable[[], None]) -> None:
        """Do the job in a thread; an error waits to be heard.

        At the end of the interpreter, when there are no more threads, it is done here and now.
        """
        unheard.watch_end()
        # Not a daemon: the interpreter waits for it, so that a save is not cut off at exit.
        worker = Worker(partial(self._keep_failure, job), unheard.THREAD_NAME)
        self._worker, self._thread = worker, worker.thread
        if not worker.start():
            self._worker, self._thread = None, threading.current_thread()
            self.run(job)

    def call_off(self) -> bool:
        """Let no thread begin with the job any more; False if one has begun."""
        return self._worker is None or self._worker.call_off()

    @property
    def _is_out_of_reach(self) -> bool:
        """Whether there is nothing to wait for from here."""
        return self.is_within or os.getpid() != self._process_id

    def _hear(self) -> None:
        self._is_heard = True
        unheard.forget(self._key)

    def _keep_failure(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            self._failure = error
            unheard.note(self._key, self, error)
            if self._is_heard:  # given up
                unheard.forget(self._key)
        finally:
            self._staged.set()
            self._done.set()
