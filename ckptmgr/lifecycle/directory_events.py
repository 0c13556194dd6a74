"""Being woken when a directory's checkpoint state is replaced, or when training says it is done.

The operating system watches two directories: that of the run, for its state file, and the hidden
one in it, for the mark of the end. While one of them is missing, the nearest directory above is
watched for it. What is written into checkpoints makes no event: only names that appear, move, or
are closed after writing do, and of those only the names that matter wake the follower.

A wake-up is a hint and may be missing: the follower looks at the files themselves, and does so
every now and then without being woken. So whatever cannot be watched here is merely noticed later:
a watch that the system refuses, a file system that tells nothing of what other machines write.

This module is imported when a follower first waits; importing watchdog takes tens of milliseconds.

Source: inotify(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from ckptmgr import naming

if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyEmitter, InotifyObserver
    from watchdog.observers.inotify_c import InotifyConstants

_log = logging.getLogger(__name__)

# Changes that another machine, or the host of a virtual one, makes are not announced here. Every
# FUSE file system (fuse.sshfs, fuse.gcsfuse, ...) is one of them, but for fuseblk: local disks.
_REMOTE_FILESYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph"),
        *("lustre", "gpfs", "beegfs", "glusterfs", "gfs2", "ocfs2", "orangefs", "pvfs2"),
        *("panfs", "wekafs", "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "fakeowner", "fuse"),
    }
)

# Without FileModifiedEvent: a writer's every write would wake us, and the close that ends an
# in-place rewrite is enough. DirDeletedEvent also tells that the watched directory itself is gone.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]

# Each round sets up watches for what the last one found to have appeared; a directory that keeps
# coming and going is left to the next look.
_MAX_ROUNDS = 5


# --------------------------------------------------------------------------- deciding


def delivers_events(filesystem: str | None) -> bool:
    """Whether a watch on such a file system sees what every writer does; None is unknown."""
    if filesystem is None:
        return True
    return filesystem not in _REMOTE_FILESYSTEMS and not filesystem.startswith("fuse.")


def filesystem_of(path: str, mountinfo: str) -> str | None:
    """The type of the file system that holds the real path `path`.

    Args:
        mountinfo: What Linux shows as /proc/self/mountinfo.
    """
    best = ""
    filesystem = None
    for line in mountinfo.splitlines():
        mount, separator, source = line.partition(" - ")
        fields = mount.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])
        # Of two on the same point, the later one hides the earlier.
        if len(point) >= len(best) and f"{path}/".startswith(f"{point.rstrip('/')}/"):
            best, filesystem = point, source.split(" ")[0]
    return filesystem


# --------------------------------------------------------------------------- watching


@dataclass(frozen=True, slots=True)
class _Target:
    """An existing directory and the names in it that matter."""

    path: str
    inode: tuple[int, int]
    names: frozenset[str]


if sys.platform == "linux":

    class _Emitter(InotifyEmitter):
        """Does not ask for the names that files are moved away from.

        watchdog keeps such an event for half a second, to pair it with the new name, and all that
        come after it: when it has read the one and not yet the other, or a file was moved out.
        """

        def get_event_mask_from_filter(self) -> Any:
            return super().get_event_mask_from_filter() & ~InotifyConstants.IN_MOVED_FROM

    class _Observer(InotifyObserver):
        def __init__(self) -> None:
            super().__init__()
            self._emitter_class = _Emitter

else:
    _Observer = Observer


class _Handler(FileSystemEventHandler):
    def __init__(self, target: _Target, wake: threading.Event) -> None:
        self._target = target
        self._wake = wake
        self.is_gone = False

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Runs in a thread of watchdog."""
        paths = (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))
        if isinstance(event, DirDeletedEvent) and paths[0] == self._target.path:
            self.is_gone = True
        elif self._target.names.isdisjoint(map(os.path.basename, paths)):
            return
        self._wake.set()


class DirectoryEvents:
    """Sets `wake` whenever there may be something new in a directory, which need not exist yet."""

    def __init__(self, directory: str, state_filename: str, wake: threading.Event) -> None:
        self._directory = os.path.abspath(directory)
        self._names = frozenset({state_filename, naming.INTERNAL_DIRECTORY})
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._targets: list[_Target] = []
        self._handlers: list[_Handler] = []
        self._is_refused = False

    def arm(self) -> None:
        """Watch what there is now; call it before each look, so that nothing falls in between."""
        for _ in range(_MAX_ROUNDS):
            if self._is_refused:
                return
            targets = self._find_targets()
            if targets == self._targets and not any(handler.is_gone for handler in self._handlers):
                return
            self._watch(targets)

    def close(self) -> None:
        """Stop watching; a second call does nothing."""
        observer, self._observer = self._observer, None
        self._targets, self._handlers = [], []
        # At the end of the interpreter its threads stand still, and stopping would wait for them.
        if observer is not None and not sys.is_finalizing():
            observer.stop()

    def _find_targets(self) -> list[_Target]:
        path = os.path.realpath(self._directory)
        target = _target(path, self._names)
        if target is not None:
            finished = os.path.basename(naming.finished_file(path))
            marks = _target(naming.internal_directory(path), frozenset({finished}))
            return [target, marks] if marks else [target]
        while target is None and path != os.path.dirname(path):
            path, missing = os.path.split(path)
            target = _target(path, frozenset({missing}))
        return [target] if target else []

    def _watch(self, targets: list[_Target]) -> None:
        """Replace the watches; the old ones go when the new ones stand."""
        for target in targets:
            filesystem = _filesystem_here(target.path)
            if not delivers_events(filesystem):
                _log.info("%s is on %s, which is polled", target.path, filesystem)
                self._refuse()
                return
        handlers = [_Handler(target, self._wake) for target in targets]
        try:
            observer = _start_observer(targets, handlers)
        except FileNotFoundError:
            return  # gone since we found it
        except (OSError, RuntimeError) as error:
            # inotify's limits (ENOSPC, EMFILE), or no more threads.
            _log.warning("cannot watch %s, polling it instead: %s", self._directory, error)
            self._refuse()
            return
        self.close()
        self._observer, self._targets, self._handlers = observer, targets, handlers

    def _refuse(self) -> None:
        self._is_refused = True
        self.close()


def _start_observer(targets: list[_Target], handlers: list[_Handler]) -> BaseObserver:
    observer = _Observer()
    try:
        for target, handler in zip(targets, handlers, strict=True):
            observer.schedule(handler, target.path, recursive=False, event_filter=_EVENTS)
        observer.start()
    except BaseException:
        observer.stop()  # those of its watches that did start
        raise
    return observer


def _target(path: str, names: frozenset[str]) -> _Target | None:
    try:
        found = os.stat(os.path.join(path, ""))  # a file of that name is not found
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
            _log.debug("cannot look at %s: %s", path, error)
        return None
    return _Target(path, (found.st_dev, found.st_ino), names)


def _filesystem_here(path: str) -> str | None:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return filesystem_of(path, file.read())
    except OSError:
        return None  # not Linux
