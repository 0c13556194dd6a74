"""Small files that stand for much: what is read takes a small multiple of what is stored.

Each is read in a process of its own, which prints by how much its memory grew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr._proto import types_pb2
from ckptmgr._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto
from ckptmgr.formats.bundle_entry import BundleHeader, encode_header
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.varint import encode_varint
from tests.fuzz import tables
from tests.fuzz.checkpoints import encode_lying_strings

#: Of the size of all files of the checkpoint, and what a reader takes in any case.
MULTIPLE = 192
BASE_BYTES = 48 << 20

HEADER = encode_header(BundleHeader(num_shards=1))

# The highest that it came to, not what is left: what is freed has been taken, too.
READ = """
import re, sys
import ckptmgr

def most_bytes():
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1)) << 10

ckptmgr.CheckpointReader
import cramjam, numpy
before = most_bytes()
told = "read"
try:
    with ckptmgr.CheckpointReader(sys.argv[1]) as reader:
        reader.get_variable_to_shape_map()
        reader.get_tensors()
        reader.verify()
except (ckptmgr.errors.CorruptCheckpoint, ckptmgr.errors.UnsupportedDtype) as error:
    told = type(error).__name__
print(told, most_bytes() - before)
"""


def keys_of_one_long_prefix(folder: Path) -> None:
    """Each entry shares all of a long key with the one before it."""
    block = bytearray(b"\x00\x00" + encode_varint(len(HEADER)) + HEADER)
    previous = b"k" * 100_000
    block += b"\x00" + encode_varint(len(previous)) + b"\x00" + previous
    for number in range(20_000):
        block += encode_varint(len(previous)) + b"\x04\x00" + number.to_bytes(4, "big")
    write_block(folder, bytes(block))


def many_blocks_of_long_keys(folder: Path) -> None:
    """In each block just so many that a block by itself may have them."""
    entries = [(b"", HEADER)]
    for number in range(200):
        prefix = f"{number:04}".encode() * 100
        entries += [(b"a" + prefix + f"{last:02}".encode(), b"") for last in range(100)]
    write_index(folder, tables.put_together(sorted(entries), block_bytes=30_000))


def entries_of_nothing(folder: Path) -> None:
    """As many as can be: a key of three bytes, an empty value."""
    entries = [(b"", HEADER)]
    entries += [(f"{n:05x}".encode(), b"") for n in range(200_000)]
    write_index(folder, tables.put_together(entries, restart_interval=1000))


def compressed_entries_of_nothing(folder: Path) -> None:
    entries = [(b"", HEADER)]
    entries += [(b"a" * 120 + f"{n:05x}".encode(), b"") for n in range(150_000)]
    write_index(folder, tables.put_together(entries, restart_interval=1000, compress=True))


def compressed_zeros(folder: Path) -> None:
    """One value of 8 MB."""
    value = SavedTensorSlices()
    value.data.name = "w"
    value.data.data.float_val.extend([0.0] * 2_000_000)
    entries = [(b"", SavedTensorSlices().SerializeToString()), (b"\0", value.SerializeToString())]
    (folder / "m").write_bytes(tables.put_together(entries, compress=True))


def slices_without_extents(folder: Path) -> None:
    """Two bytes for a slice."""
    write_slices(folder, b"\x3a\x00" * 400_000, shape=(4,))


def slices_of_everything(folder: Path) -> None:
    """Four bytes for a slice."""
    write_slices(folder, b"\x3a\x02\x0a\x00" * 200_000, shape=(4,))


def fewer_slices_of_everything(folder: Path) -> None:
    """As many as may be."""
    write_slices(folder, b"\x3a\x02\x0a\x00" * 65536, shape=(4,))


def write_slices(folder: Path, slices: bytes, shape: tuple[int, ...]) -> None:
    entry = BundleEntryProto(dtype="DT_FLOAT")
    for size in shape:
        entry.shape.dim.add(size=size)
    value = entry.SerializeToString() + slices
    write_index(folder, tables.put_together([(b"", HEADER), (b"w", value)]))


def strings_of_nothing(folder: Path) -> None:
    count = 500_000
    stored = encode_lying_strings([0] * count, b"")
    crc = crc32c(stored[count:], crc32c(np.zeros(count, "<u4").tobytes()))
    entry = BundleEntryProto(dtype="DT_STRING", size=len(stored), crc32c=mask(crc))
    entry.shape.dim.add(size=count)
    (folder / "m.data-00000-of-00001").write_bytes(stored)
    write_index(folder, tables.put_together([(b"", HEADER), (b"s", entry.SerializeToString())]))


def one_tensor_a_thousand_times(folder: Path) -> None:
    """Entries that all have the same bytes."""
    data = bytes(1 << 16)
    entry = BundleEntryProto(dtype="DT_UINT8", size=len(data), crc32c=mask(crc32c(data)))
    entry.shape.dim.add(size=len(data))
    (folder / "m.data-00000-of-00001").write_bytes(data)
    entries = [(b"w%04d" % n, entry.SerializeToString()) for n in range(1000)]
    write_index(folder, tables.put_together([(b"", HEADER), *entries]))


def write_block(folder: Path, block: bytes) -> None:
    block += bytes(4) + (1).to_bytes(4, "little")

    def replace(kind: str, piece: bytes) -> bytes:
        return block if kind == "block" else piece

    entries = [(b"\xff", b"")]
    write_index(folder, tables.put_together(entries, tamper=replace))


def write_index(folder: Path, table: bytes) -> None:
    (folder / "m.index").write_bytes(table)


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "keys of one long prefix": (keys_of_one_long_prefix, "MalformedTable"),
    "many blocks of long keys": (many_blocks_of_long_keys, ""),
    "entries of nothing": (entries_of_nothing, ""),
    "compressed entries of nothing": (compressed_entries_of_nothing, "MalformedTable"),
    "compressed zeros": (compressed_zeros, ""),
    "fewer slices of everything": (fewer_slices_of_everything, "MalformedSlices"),
    "slices without extents": (slices_without_extents, ""),
    "slices of everything": (slices_of_everything, "MalformedSlices"),
    "strings of nothing": (strings_of_nothing, "read"),
    "one tensor a thousand times": (one_tensor_a_thousand_times, "MalformedEntry"),
}


def memory_of(folder: Path) -> tuple[str, int, int]:
    """What came of reading a checkpoint, the memory it took, and the size of its files."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder / "m")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told, most_bytes = done.stdout.split()
    return told, int(most_bytes), sum(os.path.getsize(folder / name) for name in os.listdir(folder))


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_is_a_small_multiple_of_the_files(tmp_path: Path, bomb: str) -> None:
    make, outcome = BOMBS[bomb]
    make(tmp_path)
    told, most_bytes, size_bytes = memory_of(tmp_path)
    print(f"{bomb}: {told}, {size_bytes} bytes on disk, {most_bytes} in memory")  # noqa: T201
    assert most_bytes < BASE_BYTES + MULTIPLE * size_bytes
    assert outcome in {"", told}


def test_a_state_that_counts_many_v1_shards_takes_no_memory_for_their_names(
    tmp_path: Path,
) -> None:
    """Found by fuzzing: 168 bytes of state took 8 MB, a name for each of 40,022 shards."""
    pattern = f"{tmp_path}/model-?????-of-40022"
    (tmp_path / "checkpoint").write_text(
        f'model_checkpoint_path: "{pattern}"\nall_model_checkpoint_paths: "{pattern}"\n'
    )
    tracemalloc.start()
    try:
        assert ckptmgr.latest_checkpoint(tmp_path) is None
        assert ckptmgr.get_checkpoint_mtimes([pattern]) == []
        with ckptmgr.CheckpointManager({"w": np.ones(3)}, tmp_path) as manager:
            assert manager.restore() is None
            manager.save(1)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# Holes take no space on the disk: a file of terabytes comes in an archive of some bytes.
SPARSE_BYTES = 1 << 42

READ_SPARSE = """
import resource, sys
import numpy as np
import ckptmgr
from ckptmgr.graph.graph_def import read_graph_def
from ckptmgr.graph.meta_graph_files import read_meta_graph_file
from ckptmgr.lifecycle.listing import list_checkpoints
from ckptmgr.saved_model.directory import read_saved_model

folder, name = sys.argv[1:]
limit_bytes = 3 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
try:
    if name == "checkpoint":
        ckptmgr.CheckpointManager({"w": np.zeros(2)}, folder).restore()
        ckptmgr.get_checkpoint_state(folder)
        ckptmgr.update_checkpoint_state(folder, folder + "/m")
    elif name == ".ckptmgr/retention.json":
        list_checkpoints(folder)
    elif name.startswith("saved_model"):
        read_saved_model(folder)
    elif name == "m.meta":
        read_meta_graph_file(folder + "/m.meta")
    elif name == "graph.pb":
        read_graph_def(folder + "/graph.pb")
    else:
        ckptmgr.load_variable(folder + "/m", "w")
    print("read")
except ckptmgr.errors.CheckpointError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("checkpoint", "read"),
        (".ckptmgr/retention.json", "read"),
        ("saved_model.pb", "MalformedGraph"),
        ("saved_model.pbtxt", "MalformedGraph"),
        ("m.meta", "MalformedGraph"),
        ("graph.pb", "MalformedGraph"),
        ("m.index", "NotATable"),
        ("m", "NotATable"),
        ("m.data-00000-of-00001", "StorageError"),
    ],
)
def test_a_sparse_file_of_terabytes(tmp_path: Path, name: str, told: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    try:
        os.truncate(path, SPARSE_BYTES)
    except OSError as error:
        pytest.skip(f"cannot run here: no sparse files of terabytes ({error})")
    if name == "m.data-00000-of-00001":
        entry = BundleEntryProto(dtype=types_pb2.DT_FLOAT, size=SPARSE_BYTES)
        entry.shape.dim.add(size=SPARSE_BYTES // 4)
        write_index(
            tmp_path, tables.put_together([(b"", HEADER), (b"w", entry.SerializeToString())])
        )
    done = subprocess.run(
        [sys.executable, "-c", READ_SPARSE, str(tmp_path), name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == f"{told}\n", done.stderr
