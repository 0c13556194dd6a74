"""What can go wrong with a call of a storage, and at which one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from ckptmgr.arguments import real_number, whole_number
from ckptmgr.errors import InvalidArgument

#: The calls that are numbered, with what an error message says of each.
METHODS = {
    "create": "create",
    "open": "open",
    "rename": "rename to",
    "link": "link to",
    "sync_file": "sync",
    "unlink": "remove",
    "make_dirs": "make directory",
    "sync_dir": "sync directory",
    "list_dir": "list",
    "stat": "stat",
    "preallocate": "reserve space for",
    "bypass_cache": "write past the cache to",
    "write": "write",
    "truncate": "truncate",
    "sync": "sync",
    "read": "read",
    "read_into": "read",
    "map": "map",
    "close": "close",
    "acquire": "lock",
    "try_acquire": "lock",
    "release": "unlock",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and at which call.

    Give `error`, an errno, or `kill`. A call that fails has no effect, but for a write of which
    `written` says that a part arrives, and for `close` and `release`, which always give up what
    they are called for.
    """

    #: The first call that `method` and `path` admit is number 1.
    at: int = 1
    #: Raised as `PosixStorage` would: `errno.ENOENT` is an `errors.FileMissing`.
    error: int | None = None
    #: True raises `ProcessKilled`, now and at every later call, in every thread, after dropping
    #: the locks as the system would. "sigkill" ends this process itself: for child processes.
    kill: bool | str = False
    #: Whether later calls that `method` and `path` admit fail as well, as on a disk that is full.
    lasting: bool = False
    #: Which share of a failing write reaches the file: 0.5 is half of its bytes.
    written: float = 0.0
    #: One of `METHODS`; None admits all.
    method: str | None = None
    #: Whether a call on this path counts; a rename or link is asked for by either of its names.
    path: Callable[[str], bool] | None = None

    def __post_init__(self) -> None:
        whole_number("at", self.at)
        if (self.error is None) == (not self.kill):
            raise InvalidArgument("a fault has an error or kills, and not both")
        if self.kill not in {False, True, "sigkill"}:
            raise InvalidArgument(f"kill must be a bool or 'sigkill', found {self.kill!r}")
        if not real_number("written", self.written, zero=True) <= 1:
            raise InvalidArgument(f"written must be at most 1, found {self.written!r}")
        if self.method is not None and self.method not in METHODS:
            raise InvalidArgument(
                f"method must be one of {', '.join(METHODS)}, found {self.method!r}"
            )

    def admits(self, call: Call) -> bool:
        """Whether the call is of those that this fault counts."""
        if self.method is not None and call.method != self.method:
            return False
        return self.path is None or any(map(self.path, filter(None, (call.path, call.source))))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a storage, or of a file or lock that came from it."""

    number: int
    method: str
    path: str
    #: The old name, of a rename or a link.
    source: str | None = None
    #: Of a read or write, and the size of `preallocate` and `truncate`.
    offset: int | None = None
    size_bytes: int | None = None
    #: The fault that it met.
    fault: Fault | None = None

    def __str__(self) -> str:
        text = f"{self.number:4d} {self.method:12s} "
        text += self.path if self.source is None else f"{self.source} -> {self.path}"
        if self.size_bytes is not None:
            text += f" {self.size_bytes} bytes"
        if self.offset is not None:
            text += f" at {self.offset}"
        if self.fault is not None:
            number = self.fault.error
            outcome = "killed" if number is None else errno.errorcode.get(number, str(number))
            text += f"  [{outcome}]"
        return text


class Countdown:
    """How many calls a fault still lets pass."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._left = fault.at

    def meets(self, call: Call) -> bool:
        if not self.fault.admits(call):
            return False
        self._left -= 1
        return self._left == 0 or (self.fault.lasting and self._left < 0)
