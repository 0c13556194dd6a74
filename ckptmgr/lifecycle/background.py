"""One save at a time in a thread of its own, whose failure somebody hears of."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundSave:
    """Runs one job at a time; an error waits for the next call and is raised there."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` once the one before it is done; raises what that one raised."""
        self.wait()
        # Not a daemon: the interpreter waits for it, so that a save is not cut off at exit.
        thread = threading.Thread(target=self._run, args=(job,), name="ckptmgr-save")
        thread.start()
        # Only one that runs can be waited for: the system may refuse another thread.
        self._thread = thread

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Return when nothing is running; raises what the last job raised, once.

        Does nothing in the job's own thread, where a listener may run.
        """
        if self._thread is threading.current_thread():
            return
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            self._error = error
