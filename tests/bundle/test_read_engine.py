from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.bundle.read_engine import CHUNK_BYTES, Run, fill
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.storage import MemoryStorage, ReadableFile
from tests.bundle.observed_storage import ObservedStorage

LARGE = 9 * CHUNK_BYTES + 12345  # enough for threads
BYTES = np.random.default_rng(0).integers(0, 256, LARGE + 1000, np.uint8)


def stored(content: np.ndarray[Any, Any], storage: ObservedStorage | None = None) -> ReadableFile:
    storage = storage or ObservedStorage(MemoryStorage())
    file = storage.inner.create("data")
    file.write([content.data], 0)
    return storage.open("data")


def run_of(
    file: ReadableFile, offset: int, size_bytes: int, *, name: str = "w"
) -> tuple[Run, bytearray]:
    target = bytearray(size_bytes)
    checksum = mask(crc32c(BYTES[offset : offset + size_bytes].data))
    return Run(name, file, offset, size_bytes, checksum, memoryview(target)), target


# --------------------------------------------------------------------------- large


@pytest.mark.parametrize("delta", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("offset", [0, 1, 64])
def test_sizes_around_chunk_borders(chunks: int, delta: int, offset: int) -> None:
    size_bytes = max(0, chunks * CHUNK_BYTES + delta)
    run, target = run_of(stored(BYTES), offset, size_bytes)
    fill([run, run._replace(target=None)])
    assert target == BYTES[offset : offset + size_bytes].tobytes()


def test_nothing_to_read() -> None:
    fill([])


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 100),
            st.sampled_from([0, 1, 17, CHUNK_BYTES // 3, CHUNK_BYTES, CHUNK_BYTES + 1]),
        ),
        max_size=12,
    )
)
def test_any_layout(gaps_and_sizes: list[tuple[int, int]]) -> None:
    file = stored(BYTES)
    runs = []
    end = 0
    for gap, size_bytes in gaps_and_sizes:
        runs.append(run_of(file, end + gap, size_bytes))
        end = min(end + gap + size_bytes, len(BYTES) - CHUNK_BYTES - 101)
    fill([run for run, _ in runs])
    for run, target in runs:
        assert target == BYTES[run.offset : run.offset + run.size_bytes].tobytes()


@pytest.mark.parametrize("part", range(-(-LARGE // CHUNK_BYTES)))
@pytest.mark.parametrize("is_wanted", [True, False])
def test_damage_in_each_chunk(part: int, is_wanted: bool) -> None:
    damaged = BYTES.copy()
    damaged[min(part * CHUNK_BYTES + 77, LARGE - 1)] ^= 4
    file = stored(damaged)
    run, _ = run_of(file, 0, LARGE)
    with pytest.raises(errors.ChecksumMismatch) as caught:
        fill([run if is_wanted else run._replace(target=None)])
    assert (caught.value.path, caught.value.tensor) == ("data", "w")
    assert caught.value.expected == f"0x{run.crc32c:08x}"
    assert caught.value.found == f"0x{mask(crc32c(damaged[:LARGE].data)):08x}"


def test_swapped_chunks_are_noticed() -> None:
    swapped = BYTES.copy()
    swapped[:CHUNK_BYTES] = BYTES[CHUNK_BYTES : 2 * CHUNK_BYTES]
    swapped[CHUNK_BYTES : 2 * CHUNK_BYTES] = BYTES[:CHUNK_BYTES]
    run, _ = run_of(stored(swapped), 0, LARGE)
    with pytest.raises(errors.ChecksumMismatch):
        fill([run])


def test_first_run_that_differs_is_named() -> None:
    damaged = BYTES.copy()
    damaged[[5, 3 * CHUNK_BYTES]] ^= 1
    file = stored(damaged)
    sizes = [(0, 3), (3, 9), (12, 2 * CHUNK_BYTES), (2 * CHUNK_BYTES + 12, LARGE // 2)]
    runs = [run_of(file, *extent, name=str(number))[0] for number, extent in enumerate(sizes)]
    with pytest.raises(errors.ChecksumMismatch, match="tensor '1'"):
        fill(runs)


@pytest.mark.parametrize("failing", [*range(6), LARGE // CHUNK_BYTES])
def test_a_failing_read_in_any_thread(failing: int) -> None:
    reads = itertools.count()

    def fail(operation: str, path: str) -> None:
        if operation == "read" and next(reads) == failing:
            raise errors.StorageError(5, f"cannot read {path}: Input/output error", path)

    file = stored(BYTES, ObservedStorage(MemoryStorage(), before=fail))
    with pytest.raises(errors.StorageError, match="cannot read data"):
        fill([run_of(file, 0, LARGE)[0]])


@pytest.mark.parametrize("left", [0, CHUNK_BYTES, 5 * CHUNK_BYTES + 1, LARGE - 1])
def test_a_file_that_becomes_shorter(left: int) -> None:
    storage = ObservedStorage(MemoryStorage())
    writer = storage.inner.create("data")
    writer.write([BYTES.data], 0)
    file = storage.open("data")
    writer.truncate(left)
    with pytest.raises(errors.TruncatedFile, match="^data: the file became shorter.*tensor 'w'"):
        fill([run_of(file, 0, LARGE)[0]])
