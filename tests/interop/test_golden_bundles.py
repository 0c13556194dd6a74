"""We read the golden files as they are meant, and write TensorFlow's to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptmgr import naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.bundle.v1_writer import stage_v1
from ckptmgr.bundle.writer import stage
from ckptmgr.formats.tensor_slice import TensorSlice, resolve_slice
from ckptmgr.storage import MemoryStorage, Storage
from tests.bundle import cases

#: Folder, prefix in it, and what the expected names of its tensors begin with.
CHECKPOINTS = [
    ("v2_multi", "model", ""),
    ("v2_variant", "model", ""),
    ("v2_saver", "model.ckpt-3", "model.ckpt-3:"),
    ("v2_saver", "model.ckpt-4", "model.ckpt-4:"),
    ("v2_saver", "model.ckpt-5", "model.ckpt-5:"),
    ("v2_saver", "rel-00000007", "rel-00000007:"),
    ("v2_saver", "rel-00000008", "rel-00000008:"),
    ("v2_partitioned", "model", ""),
    ("v2_sharded", "model-3", ""),
    ("v1_ckpt", "model.ckpt-10", ""),
    ("v1_ckpt", "shard.ckpt-10-?????-of-00002", ""),
    ("graphs", "ema.ckpt", "ema.ckpt:"),
    ("obj_ckpt", "ckpt-2", "ckpt-2:"),
    ("obj_ckpt", "ckpt-3", "ckpt-3:"),
    ("obj_ckpt", "keras_write", "keras_write:"),
    ("obj_ckpt", "slots", "slots:"),
    ("keras_legacy", "ckpt-1", "ckpt-1:"),
    ("keras_legacy", "weights", "weights:"),
    ("keras_legacy", "saved_model/variables/variables", "saved_model:"),
    ("saved_model_tf1", "export/variables/variables", ""),
    ("saved_model_tf1", "simple/variables/variables", "simple:"),
    ("saved_model_tf2", "module/variables/variables", "module:"),
    ("saved_model_tf2", "keras_export/variables/variables", "keras_export:"),
    *(
        ("handmade", name, "")
        for name in (
            *("gap4096", "reversed", "absent_shards", "big_endian", "snappy_index"),
            *("tiny_blocks", "v1_snappy"),
        )
    ),
]

ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"

#: Where the expected values go by the variable's name and the checkpoint by its path.
RENAMED = {
    "module:": {"sub/k.S1..x": "k1", "sub/lst/0": "t"},
    "keras_export:": {
        f"{listed}/{number}": f"sequential/{name}"
        for listed, order in (
            ("variables", ("d1/kernel", "d1/bias", "d2/kernel", "d2/bias")),
            ("_all_variables", ("d1/kernel", "d2/bias", "d2/kernel", "d1/bias")),
        )
        for number, name in enumerate(order)
    },
}

#: In no expected values: how often an object was saved, and the graph of objects.
UNEXPECTED = {"save_counter" + ATTRIBUTE, "_CHECKPOINTABLE_OBJECT_GRAPH"}

LoadExpected = Callable[[str], dict[str, Any]]


def test_every_golden_checkpoint_is_in_the_table(golden: Path) -> None:
    indexes = {str(path.relative_to(golden))[: -len(".index")] for path in golden.rglob("*.index")}
    listed = {f"{folder}/{prefix}" for folder, prefix, _ in CHECKPOINTS}
    v1 = {path for path in listed if not (golden / f"{path}.index").exists()}
    assert listed - v1 == indexes
    assert len(v1) == 3


@pytest.mark.parametrize(("folder", "prefix", "label"), CHECKPOINTS)
def test_values(
    golden: Path, load_expected: LoadExpected, folder: str, prefix: str, label: str
) -> None:
    values = load_expected("v1_ckpt" if prefix == "v1_snappy" else folder)
    with CheckpointReader(golden / folder / prefix) as reader:
        reader.verify()
        compared = 0
        for name in reader.get_variable_to_shape_map():
            if name in UNEXPECTED or reader.dtype_name(name) == "variant":
                continue
            short = name.removesuffix(ATTRIBUTE)
            short = RENAMED.get(label, {}).get(short, short)
            expected = values.get(label + short, values.get(label + name))
            assert expected is not None, name
            cases.assert_identical(reader.get_tensor(name), expected)
            compared += 1
    assert compared > 0


@pytest.mark.parametrize(
    "path",
    [
        "v2_saver/model.ckpt-3",
        "v2_saver/rel-00000008",
        "v2_partitioned/model",
        "graphs/ema.ckpt",
        "saved_model_tf1/simple/variables/variables",
        "v1_ckpt/model.ckpt-10",
    ],
)
def test_written_again_to_the_byte(golden: Path, path: str) -> None:
    written = golden / path
    memory = MemoryStorage()
    with CheckpointReader(written) as reader:
        tensors = [
            tensor for name in reader.get_variable_to_shape_map() for tensor in parts(reader, name)
        ]
    options = cases.options(alignment_bytes=1)
    base = written.name
    if (golden / f"{path}.index").exists():
        stage(memory, base, [tensors], options).publish()
        files = [naming.index_file(base), naming.data_shard(base, 0, 1)]
    else:
        stage_v1(memory, base, [tensors], options).publish()
        files = [base]
    assert memory.list_dir(".") == sorted(files)
    for file in files:
        assert contents(memory, file) == (written.parent / file).read_bytes()


def parts(reader: CheckpointReader, name: str) -> list[NamedTensor]:
    """A tensor as TensorFlow handed it to its writer."""
    entry = reader.entry(name)
    found = []
    for part in entry.slices:
        region = resolve_slice(part, entry.shape)
        is_explicit = any(extent.length is not None for extent in part.extents)
        partition = Partition(entry.shape, region.starts) if is_explicit else None
        found.append(NamedTensor(name, reader.get_slice(name, part), partition))
    return found or [NamedTensor(name, reader.get_slice(name, TensorSlice.full(len(entry.shape))))]


def contents(storage: Storage, path: str) -> bytes:
    file = storage.open(path)
    return file.read(0, file.size_bytes)
