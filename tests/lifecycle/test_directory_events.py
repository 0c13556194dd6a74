"""Where the system is asked to wake a follower, and what it wakes it for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptmgr import naming
from ckptmgr.lifecycle import directory_events
from ckptmgr.lifecycle.directory_events import DirectoryEvents, delivers_events, filesystem_of

# Long enough for a busy machine; nothing waits for it unless it fails.
ENOUGH_SECS = 10.0
# What must not come is waited for this long.
QUIET_SECS = 0.2

MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
25 24 0:23 / /srv/fast rw,relatime - tmpfs tmpfs rw,size=24684092k
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:30 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
29 28 8:1 / /home/me/scratch rw - xfs /dev/sda1 rw
31 27 0:31 / /data\040sets rw - fuse.gcsfuse bucket rw
32 27 0:32 / /run1 rw - ext4 /dev/sdb rw
33 32 0:33 / /run1 rw - lustre lnet rw
a line that is none
34 27 0:34 / /short rw
"""


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/", "ext4"),
        ("/var/run", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/run", "nfs4"),
        ("/homes/run", "ext4"),
        ("/home/me/scratch/run", "xfs"),
        ("/data sets/run", "fuse.gcsfuse"),
        ("/data", "ext4"),
        ("/run1/model", "lustre"),
        ("/srv/fast/run", "tmpfs"),
        ("/short/run", "ext4"),
    ],
)
def test_filesystem_of_a_path(path: str, filesystem: str) -> None:
    assert filesystem_of(path, MOUNTINFO) == filesystem


def test_no_mount_known() -> None:
    assert filesystem_of("/run", "") is None


@pytest.mark.parametrize(
    ("filesystem", "expected"),
    [
        *((local, True) for local in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "apfs")),
        *((local, True) for local in ("fuseblk", None)),
        *((remote, False) for remote in ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse")),
        *((remote, False) for remote in ("fuse.sshfs", "fuse.glusterfs", "lustre", "gpfs")),
        *((remote, False) for remote in ("beegfs", "ceph", "glusterfs", "afs")),
    ],
)
def test_remote_filesystems_do_not_deliver_events(
    *, filesystem: str | None, expected: bool
) -> None:
    assert delivers_events(filesystem) is expected


# --------------------------------------------------------------------------- real watches


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def watched(directory: Path, wake: threading.Event) -> Iterator[DirectoryEvents]:
    watched = DirectoryEvents(str(directory), "checkpoint", wake)
    yield watched
    watched.close()


def wakes(watched: DirectoryEvents, wake: threading.Event, change: Callable[[], object]) -> bool:
    """Whether `change` wakes a follower, and goes on doing so until it looks."""
    time.sleep(0.05)  # what an earlier step set off arrives
    watched.arm()
    wake.clear()
    change()
    return wake.wait(ENOUGH_SECS)


def replace(path: Path) -> None:
    temporary = path.with_name(f"{path.name}.tmp-1")
    temporary.write_bytes(b"x")
    temporary.rename(path)


def test_wakes_for_the_state_and_the_mark_of_the_end(
    directory: Path, watched: DirectoryEvents, wake: threading.Event
) -> None:
    directory.mkdir()
    state = directory / naming.STATE_FILENAME
    finished = Path(naming.finished_file(str(directory)))

    assert wakes(watched, wake, lambda: replace(state))
    assert wakes(watched, wake, lambda: state.write_bytes(b"in place"))
    assert wakes(watched, wake, finished.parent.mkdir)
    assert wakes(watched, wake, finished.touch)
    assert wakes(watched, wake, lambda: replace(finished))


def test_sleeps_through_everything_else(
    directory: Path, watched: DirectoryEvents, wake: threading.Event
) -> None:
    internal = directory / naming.INTERNAL_DIRECTORY
    internal.mkdir(parents=True)
    (directory / "checkpoint").touch()
    watched.arm()

    replace(directory / "model.ckpt-1.index")
    with (directory / "model.ckpt-1.data-00000-of-00001").open("wb") as shard:
        for _ in range(100):
            shard.write(bytes(4096))
            shard.flush()
    (internal / "lock").touch()
    (internal / "holds").mkdir()
    (internal / "holds" / "finished").touch()
    (directory / "eval").mkdir()
    (directory / "eval" / "checkpoint").touch()
    (directory / "checkpoint").read_bytes()
    (directory / "model.ckpt-1.index").unlink()

    assert not wake.wait(QUIET_SECS)
    replace(directory / "checkpoint")
    assert wake.wait(ENOUGH_SECS)


def test_a_file_that_is_moved_away_delays_nothing(
    directory: Path, watched: DirectoryEvents, wake: threading.Event
) -> None:
    """watchdog would wait half a second for where it was moved to."""
    directory.mkdir()
    (directory / "model.ckpt-1.index").touch()
    watched.arm()
    (directory / "model.ckpt-1.index").rename(directory.with_name("archived"))
    began = time.monotonic()
    replace(directory / "checkpoint")
    assert wake.wait(ENOUGH_SECS)
    assert time.monotonic() - began < 0.3


def test_a_directory_that_comes_goes_and_comes_back(directory: Path, wake: threading.Event) -> None:
    deep = directory / "a" / "b"
    watched = DirectoryEvents(str(deep), "checkpoint", wake)
    try:
        for _ in range(2):
            assert wakes(watched, wake, directory.mkdir)
            assert wakes(watched, wake, deep.parent.mkdir)
            assert wakes(watched, wake, deep.mkdir)
            assert wakes(watched, wake, lambda: replace(deep / "checkpoint"))
            assert wakes(watched, wake, lambda: shutil.rmtree(directory))
    finally:
        watched.close()


def test_a_directory_that_is_made_again_at_once(
    directory: Path, watched: DirectoryEvents, wake: threading.Event
) -> None:
    """It may even get the same inode, which says that nothing happened."""
    directory.mkdir()
    for _ in range(5):
        watched.arm()
        wake.clear()
        shutil.rmtree(directory)
        directory.mkdir()
        assert wake.wait(ENOUGH_SECS)
        assert wakes(watched, wake, lambda: replace(directory / "checkpoint"))


def test_a_directory_that_another_takes_the_place_of(
    directory: Path, watched: DirectoryEvents, wake: threading.Event
) -> None:
    directory.mkdir()
    watched.arm()
    directory.rename(directory.with_name("old"))
    directory.mkdir()

    assert wakes(watched, wake, lambda: replace(directory / "checkpoint"))


def test_through_a_link(tmp_path: Path, directory: Path, wake: threading.Event) -> None:
    directory.mkdir()
    link = tmp_path / "link"
    link.symlink_to(directory)
    watched = DirectoryEvents(str(link), "checkpoint", wake)
    try:
        assert wakes(watched, wake, lambda: replace(directory / "checkpoint"))
    finally:
        watched.close()


def wait_for_threads_to_end(before: set[threading.Thread]) -> None:
    deadline = time.monotonic() + ENOUGH_SECS
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_close_leaves_no_thread(directory: Path, watched: DirectoryEvents) -> None:
    before = set(threading.enumerate())
    directory.mkdir()
    (directory / naming.INTERNAL_DIRECTORY).mkdir()
    watched.arm()
    assert set(threading.enumerate()) - before
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    watched.close()
    watched.close()
    wait_for_threads_to_end(before)
    if files:
        assert len(os.listdir("/proc/self/fd")) < files


def test_a_watch_that_fails_half_way_leaves_no_thread(
    directory: Path, wake: threading.Event
) -> None:
    directory.mkdir()
    targets = [
        directory_events._Target(str(path), (0, 0), frozenset())
        for path in (directory, directory / "missing")
    ]
    handlers = [directory_events._Handler(target, wake) for target in targets]
    before = set(threading.enumerate())
    with pytest.raises(FileNotFoundError):
        directory_events._start_observer(targets, handlers)
    wait_for_threads_to_end(before)


# No file may be opened while the watch is set up, and only then.
REFUSED = """
import logging, resource, sys, threading
from ckptmgr.lifecycle.directory_events import DirectoryEvents

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
threads = threading.active_count()
watched = DirectoryEvents(sys.argv[1], "checkpoint", threading.Event())
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
watched.arm()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
watched.arm()
assert threading.active_count() == threads
watched.close()
"""


def test_a_watch_that_the_system_refuses_is_logged_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNING") == 1
    assert f"cannot watch {tmp_path}, polling it instead" in done.stdout
