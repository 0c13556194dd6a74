"""Failures in the background that nobody has heard of by the end of the process.

They are printed to stderr, and the status becomes 120, which Python itself gives to an error that
comes up behind the program's end (see `sys.exit`). A handler at exit has no say in the status, and
`os._exit` would skip the handlers of others and what they have not flushed yet. What Python looks
at is whether the standard streams can be flushed at the very end: so that of stderr then fails.

An uncaught exception has set the status by then, and is left alone. A status given to `sys.exit`
is known to nobody at that time. A child that `multiprocessing` forks does not come to such an end,
but calls what was registered with that module: there the failure is printed, and no more.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

#: Of the threads that save.
THREAD_NAME = "ckptmgr-save"
#: Behind whatever else is to be done at the end; that of multiprocessing itself is -100.
_LAST = -1000

#: What nobody has heard of, with the process that it happened in: a fork has no part in it.
_failures: dict[object, tuple[int, str]] = {}
_watched_children: set[int] = set()


def watch_end() -> None:
    """Have failures reported by the end of this process, if that is one of `multiprocessing`."""
    multiprocessing = sys.modules.get("multiprocessing")  # a child of it has loaded it
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return
    if os.getpid() not in _watched_children:
        from multiprocessing import util

        _watched_children.add(os.getpid())
        util.Finalize(None, _report_in_child, exitpriority=_LAST)


def note(key: object, prefix: str, error: BaseException) -> None:
    """Remember a failure until `forget`; the text only, for an error refers to the whole state."""
    story = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = (
        f"ckptmgr: saving {prefix} in the background failed, and neither a later save, nor wait() "
        f"nor close() has told of it:\n{story}"
    )
    _failures[key] = os.getpid(), text


def forget(key: object) -> None:
    _failures.pop(key, None)


class _UnflushableAtTheEnd:
    """Standard error as it was, except that its last flush fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        self._stream.flush()
        if sys.is_finalizing():
            raise OSError("a checkpoint was not saved")


def _report() -> bool:
    """Print, once, what nobody has heard of, and say whether there is any."""
    texts = {key: text for key, (owner, text) in _failures.items() if owner == os.getpid()}
    _failures.update(dict.fromkeys(texts, (os.getpid(), "")))
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # on a full disk, or closed: the status still tells
            sys.stderr.write("".join(texts.values()))
    return bool(texts)


def _report_at_exit() -> None:
    if _report() and getattr(sys, "last_value", None) is None:
        stream = sys.stderr
        if stream is None or getattr(stream, "closed", False):
            stream = open(os.devnull, "w")  # noqa: SIM115 - open to the end
        sys.stderr = _UnflushableAtTheEnd(stream)


def _report_in_child() -> None:
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join()
    _report()


# Others that register later are called before, and may still wait for their saves.
atexit.register(_report_at_exit)
