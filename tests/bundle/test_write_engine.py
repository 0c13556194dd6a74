"""Big shards: several chunks, several threads, past the cache."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.bundle import write_engine
from ckptmgr.bundle.layout import NamedTensor, plan_bundle
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.staging import StagingBuffer
from ckptmgr.bundle.write_engine import CHUNK_BYTES, SMALL_BYTES, for_each_chunk
from ckptmgr.bundle.writer import WriteOptions, stage, stage_plan
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.storage import MemoryStorage, PosixStorage, Storage, posix
from ckptmgr.storage.protocol import Buffer

TOKEN = "0" * 32


def random(size_bytes: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.frombuffer(np.random.default_rng(seed).bytes(size_bytes), np.uint8)


def cases() -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    big = random(2 * CHUNK_BYTES)
    return {
        "one byte less than a chunk": {"a": random(CHUNK_BYTES - 1), "b": random(7, 1)},
        "a chunk": {"a": random(CHUNK_BYTES), "b": random(7, 1)},
        "one byte more than a chunk": {"a": random(CHUNK_BYTES + 1), "b": random(7, 1)},
        "one tensor in many chunks": {"a": random(SMALL_BYTES + 3 * CHUNK_BYTES + 12345)},
        "a whole number of chunks": {"a": random(SMALL_BYTES + 2 * CHUNK_BYTES)},
        "many over borders": {
            f"t{n:02d}": random(CHUNK_BYTES // 3 + 1000 * n, n) for n in range(25)
        },
        "empty ones between": {
            "a": random(CHUNK_BYTES),
            "b": np.zeros(0),
            "c": random(SMALL_BYTES, 1),
            "d": np.zeros((3, 0)),
        },
        "not contiguous": {
            "a": big.reshape(2, -1).T,
            "b": big[::2],
            "c": big.view(">u4"),
            "d": random(SMALL_BYTES).reshape(-1, 4096)[:, ::-1],
        },
        "strings behind": {"a": random(SMALL_BYTES), "b": np.array([b"x" * 100, b""], object)},
    }


CASES = cases()


@pytest.fixture(params=["posix", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    if request.param == "posix":
        return PosixStorage(), str(tmp_path / "m")
    storage = MemoryStorage()
    storage.make_dirs("/run")
    return storage, "/run/m"


def assert_reads_back(
    storage: Storage, prefix: str, arrays: dict[str, np.ndarray[Any, Any]]
) -> None:
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        for name, array in arrays.items():
            found = reader.read(name)
            assert found.dtype == array.dtype.newbyteorder("=")
            assert np.array_equal(found, array)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read(place: tuple[Storage, str], case: str, durable: bool) -> None:
    storage, prefix = place
    tensors = [NamedTensor(name, array) for name, array in CASES[case].items()]
    stage(storage, prefix, [tensors], WriteOptions(TOKEN, durable)).publish()
    assert_reads_back(storage, prefix, CASES[case])
    plan = plan_bundle([tensors])
    info = storage.stat(f"{prefix}.data-00000-of-00001")
    assert info is not None
    assert info.size_bytes == plan.data_bytes


@pytest.mark.parametrize("copied", ["all", "none", "some"])
@pytest.mark.parametrize("case", CASES)
def test_a_staged_copy_gives_the_same_files(
    place: tuple[Storage, str], case: str, copied: str
) -> None:
    storage, prefix = place
    tensors = [NamedTensor(name, array.copy(order="K")) for name, array in CASES[case].items()]
    plan = plan_bundle([tensors[::2], tensors[1::2]])
    stage_plan(storage, f"{prefix}-1", plan, WriteOptions(TOKEN)).publish()
    expected = content(storage, f"{prefix}-1")

    immutable = {id(t.array) for t in tensors[:: {"all": 99, "none": 1, "some": 2}[copied]]}
    if copied == "all":
        immutable = set()
    buffer = StagingBuffer()
    for _ in range(2):  # the second time with memory that holds something
        image = buffer.copy(plan, lambda array: id(array) in immutable)
    for tensor in tensors:
        if id(tensor.array) not in immutable and tensor.array.dtype != object:
            tensor.array[...] = 0  # the copy is all that counts now
    stage_plan(storage, f"{prefix}-2", image, WriteOptions(TOKEN)).publish()
    assert content(storage, f"{prefix}-2") == expected


def content(storage: Storage, prefix: str) -> list[bytes]:
    found = []
    for name in (".index", ".data-00000-of-00002", ".data-00001-of-00002"):
        file = storage.open(prefix + name)
        found.append(file.read(0, file.size_bytes))
        file.close()
    return found


def test_the_buffer_is_reused() -> None:
    buffer = StagingBuffer()
    plans = [plan_bundle([[NamedTensor("a", random(size))]]) for size in (9000, 5000, 9000)]
    sizes = []
    for plan in plans:
        buffer.copy(plan, lambda _: False)
        sizes.append(buffer.size_bytes)
    assert sizes == [12288, 12288, 12288]


class Failing(PosixStorage):
    """The real storage, whose files refuse one write."""

    def __init__(self, refused_offset: int) -> None:
        super().__init__()
        self.refused_offset = refused_offset

    def create(self, path: str) -> Any:
        file = super().create(path)
        write, refused = file.write, self.refused_offset

        def write_or_fail(buffers: Sequence[Buffer], offset: int) -> None:
            if offset == refused:
                raise errors.StorageError(errno.ENOSPC, f"cannot write {path}: disk full", path)
            write(buffers, offset)

        file.write = write_or_fail  # type: ignore[method-assign]
        return file


@pytest.mark.parametrize("chunk", [0, 2, 5])
def test_a_failure_in_any_thread_fails_the_save(tmp_path: Path, chunk: int) -> None:
    # DCP's writer threads once published a checkpoint after ENOSPC.
    tensors = [NamedTensor("a", random(6 * CHUNK_BYTES))]
    storage = Failing(chunk * CHUNK_BYTES)
    with pytest.raises(errors.StorageError, match="disk full"):
        stage(storage, str(tmp_path / "m"), [tensors], WriteOptions(TOKEN))
    assert os.listdir(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "ckptmgr-io"]


def test_after_a_failure_no_thread_goes_on() -> None:
    done: list[int] = []

    def work(chunk: int) -> None:
        if chunk == 3:
            raise ValueError(chunk)
        done.append(chunk)

    with pytest.raises(ValueError, match="3"):
        for_each_chunk(10_000, lambda: work)
    assert len(done) < 10_000


def test_after_an_interrupt_no_thread_goes_on() -> None:
    """Ctrl-C while the others work: the file is about to be closed, the memory to be used again."""
    program = """
import signal, threading, time
from ckptmgr.bundle.write_engine import for_each_chunk

other_works = threading.Event()
done = []

def work(chunk):
    if threading.current_thread() is threading.main_thread():
        other_works.wait(30)
    else:
        other_works.set()
        time.sleep(0.5)  # by now the main thread has done the rest, and waits for us
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)
    done.append(chunk)

try:
    for_each_chunk(5, lambda: work, num_threads=2)
except KeyboardInterrupt:
    at_once = len(done)
    time.sleep(1)
    print(at_once, len(done))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["5", "5"]


def test_a_file_system_without_direct_access(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tensors = {"a": random(SMALL_BYTES + 999)}
    monkeypatch.setattr(posix, "_set_direct", lambda fd, *, on: False)
    named = [NamedTensor(name, array) for name, array in tensors.items()]
    stage(PosixStorage(), str(tmp_path / "m"), [named], WriteOptions(TOKEN)).publish()
    assert_reads_back(PosixStorage(), str(tmp_path / "m"), tensors)


def test_a_shared_memory_file_system() -> None:
    # tmpfs: direct access depends on the kernel, and the save must not.
    directory = Path("/dev/shm")  # noqa: S108 - the tmpfs is the point
    if not os.access(directory, os.W_OK):
        pytest.skip("cannot run here: there is no /dev/shm")
    prefix = directory / f"ckptmgr-test-{os.getpid()}"
    tensors = {"a": random(SMALL_BYTES + 999)}
    try:
        named = [NamedTensor(name, array) for name, array in tensors.items()]
        stage(PosixStorage(), str(prefix), [named], WriteOptions(TOKEN)).publish()
        assert_reads_back(PosixStorage(), str(prefix), tensors)
    finally:
        for path in directory.glob(f"{prefix.name}*"):
            path.unlink()


def test_a_checksum_does_not_depend_on_how_a_tensor_is_divided(tmp_path: Path) -> None:
    array = random(SMALL_BYTES + CHUNK_BYTES + 77)
    plan = plan_bundle([[NamedTensor("a", array)]])
    file = PosixStorage().create(str(tmp_path / "data"))
    assert write_engine.write_shard(file, plan.shards[0], durable=True) == [
        mask(crc32c(array.data))
    ]
    file.close()
