"""Saves in a thread of their own, one at a time, whose failures somebody hears of."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SaveHandle(str):  # noqa: SLOT000 - it carries the state of a save
    """The prefix of a checkpoint that is being saved, and the means to wait for it."""

    def __init__(self, prefix: str) -> None:  # noqa: ARG002 - str takes it in __new__
        super().__init__()
        self._staged = threading.Event()
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._is_heard = False
        self._thread: threading.Thread | None = None

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        # Another process, or a copy, has no save to wait for: it gets the prefix.
        return str, (str(self),)

    @property
    def is_staged(self) -> bool:
        """Whether the state was copied, so that it may change."""
        return self._staged.is_set()

    @property
    def is_done(self) -> bool:
        """Whether the save has succeeded or failed."""
        return self._done.is_set()

    def wait_staged(self) -> None:
        """Return when the state may be changed; what fails later is not waited for."""
        self._staged.wait()

    def wait(self) -> None:
        """Return when the checkpoint is committed; raises what its save raised.

        Does nothing in the save's own thread, where a listener may run.
        """
        if threading.current_thread() is self._thread:
            return
        self._done.wait()
        self._is_heard = True
        if self._failure is not None:
            raise self._failure

    def raise_unheard(self) -> None:
        """`wait`, but an error that `wait` has raised before is not raised again."""
        if not self._is_heard:
            self.wait()

    def staged(self) -> None:
        self._staged.set()

    def run(self, job: Callable[[], None]) -> None:
        """Do the job here and now; an error is raised."""
        try:
            job()
        finally:
            self._is_heard = True
            self._staged.set()
            self._done.set()

    def start(self, job: Callable[[], None]) -> None:
        """Do the job in a thread; an error waits to be heard."""
        # Not a daemon: the interpreter waits for it, so that a save is not cut off at exit.
        thread = threading.Thread(target=self._keep_failure, args=(job,), name="ckptmgr-save")
        self._thread = thread
        thread.start()

    def _keep_failure(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            self._failure = error
        finally:
            self._staged.set()
            self._done.set()
