from __future__ import annotations

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.table_file import TableFile
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.storage import MemoryStorage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage


def table_file(content: bytes) -> tuple[ObservedStorage, TableFile]:
    storage = ObservedStorage()
    file = storage.inner.create("t")
    file.write([content], 0)
    return storage, TableFile(storage.open("t"))


def reads(storage: ObservedStorage) -> int:
    count = sum(operation == "read" for operation, _ in storage.calls)
    storage.calls.clear()
    return count


ENTRIES = {b"%06d" % i: b"v%d" % i * 20 for i in range(30_000)}


def test_large_table_is_read_by_blocks() -> None:
    storage, table = table_file(encode_table(ENTRIES.items()))
    assert reads(storage) == 2
    assert table.lookup(b"000007") == ENTRIES[b"000007"]
    assert reads(storage) == 1
    assert table.lookup(b"000008") == ENTRIES[b"000008"]
    assert reads(storage) == 0
    assert table.lookup(b"029999") == ENTRIES[b"029999"]
    assert reads(storage) == 1
    for missing in (b"", b"000007x", b"999999"):
        assert table.lookup(missing) is None
    reads(storage)
    assert table.entries() == ENTRIES
    assert reads(storage) == 1


def test_small_table_is_read_at_once() -> None:
    entries = dict(list(ENTRIES.items())[:100])
    storage, table = table_file(encode_table(entries.items()))
    assert table.lookup(b"000099") == entries[b"000099"]
    assert table.lookup(b"000100") is None
    assert table.entries() == entries
    assert reads(storage) == 1


def test_every_key_of_a_table_of_many_blocks() -> None:
    # More blocks than are kept.
    storage, table = table_file(encode_table(ENTRIES.items(), block_size_bytes=20_000))
    for key, value in ENTRIES.items():
        assert table.lookup(key) == value
    assert 64 < reads(storage) < 250


def test_giant_entries_are_not_kept() -> None:
    entries = {b"a": b"1", b"b": bytes(3 << 20), b"c": b"2"}
    storage, table = table_file(encode_table(entries.items()))
    reads(storage)
    for _ in range(2):
        for key, value in entries.items():
            assert table.lookup(key) == value
    assert reads(storage) == 4


@pytest.mark.parametrize("where", [100, -60, -46, -1])
def test_damage_names_the_file(where: int) -> None:
    content = bytearray(encode_table(ENTRIES.items()))
    content[where] ^= 0xFF
    with pytest.raises(errors.CorruptCheckpoint, match="^t: "):
        table_file(bytes(content))[1].lookup(b"000001")
    with pytest.raises(errors.CorruptCheckpoint, match="^t: "):
        table_file(bytes(content))[1].entries()


def test_one_name_of_a_large_index() -> None:
    memory = MemoryStorage()
    names = [f"{i * 2654435761 % 2**32:08x}/{'x' * 60}" for i in range(20_000)]
    arrays = cases.named({name: np.array([i]) for i, name in enumerate(names)})
    parts = cases.parts("p", np.arange(4), np.s_[0:1,], np.s_[1:4,])
    cases.save(memory, "m", [*arrays, *parts])
    storage = ObservedStorage(memory)
    with BundleReader(storage, "m") as reader:
        # The footer, the index block, the first data block for the header.
        assert reads(storage) == 3
        assert reader.read(names[12_345]).tolist() == [12_345]
        assert reads(storage) == 2
        assert "7fffffff/missing" not in reader
        assert reads(storage) <= 1
        assert reader.read("p").tolist() == [0, 1, 2, 3]
        assert len(reader.entries()) == 20_001
