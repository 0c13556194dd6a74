"""What `MemoryStorage` does beyond the contract of every storage."""

from __future__ import annotations

import os
import signal
import threading

from ckptmgr.storage import MemoryStorage


def test_two_storages_share_nothing() -> None:
    one, other = MemoryStorage(), MemoryStorage()
    one.make_dirs("/run")
    assert one.stat("/run") is not None
    assert other.stat("/run") is None
    with one.lock("lock"):
        assert other.lock("lock").try_acquire()


def test_the_working_directory_is_there_from_the_beginning() -> None:
    storage = MemoryStorage()
    assert storage.list_dir(os.getcwd()) == []
    storage.create("file").close()
    assert storage.list_dir(os.getcwd()) == ["file"]


def test_an_identity_is_never_given_twice() -> None:
    storage = MemoryStorage()
    identities = set()
    for _ in range(100):
        storage.create("file").close()
        info = storage.stat("file")
        assert info is not None
        identities.add(info.identity)
        storage.unlink("file")
    assert len(identities) == 100


def test_what_was_written_is_a_copy() -> None:
    storage = MemoryStorage()
    data = bytearray(b"data")
    file = storage.create("file")
    file.write([data], 0)
    data[:] = b"XXXX"
    reader = storage.open("file")
    assert reader.read(0, 4) == b"data"
    # A shared buffer would make this truncation fail: its memory could not move.
    file.truncate(0)
    assert reader.read(0, 4) == b""


def test_a_signal_handler_may_use_a_storage_that_is_in_use() -> None:
    storage = MemoryStorage()
    seen = []
    done = threading.Event()

    def handle(*_: object) -> None:
        seen.append(storage.list_dir("."))

    def interrupt() -> None:
        while not done.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handle)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        file = storage.create("file")
        while len(seen) < 20:
            file.write([b"x" * 10_000], 0)
    finally:
        done.set()
        interrupting.join()
        signal.signal(signal.SIGUSR1, previous)
    assert seen[-1] == ["file"]
