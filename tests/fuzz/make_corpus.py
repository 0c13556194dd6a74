"""Writes `corpus/`: small sound inputs of each target, from which fuzzing begins.

python -m tests.fuzz.make_corpus
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.bundle.v1_writer import stage_v1
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.storage import MemoryStorage
from tests.fuzz import model_corpus, tables
from tests.fuzz.packing import pack
from tests.fuzz.targets import BUNDLE_FILES, V1_FILES

CORPUS = Path(__file__).parent / "corpus"
GOLDEN = Path(__file__).parent.parent / "golden"
_OPTIONS = WriteOptions("0123456789abcdef" * 2, durable=False, alignment_bytes=1)


def main() -> None:
    shutil.rmtree(CORPUS, ignore_errors=True)
    for target, inputs in (
        ("bundle", _bundles()),
        ("v1", _v1()),
        ("state", _states()),
        ("manager", _managers()),
        ("meta_graph", model_corpus.meta_graphs()),
        ("saved_model", model_corpus.saved_models()),
    ):
        (CORPUS / target).mkdir(parents=True)
        for name, data in inputs:
            (CORPUS / target / name).write_bytes(data)


def _strings(*values: bytes) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _partitioned(name: str, array: Any, parts: int) -> list[NamedTensor]:
    """Equal parts along the first dimension."""
    length = len(array) // parts
    return [
        NamedTensor(
            name,
            array[start : start + length],
            Partition(array.shape, (start, *(0,) * (array.ndim - 1))),
        )
        for start in range(0, len(array), length)
    ]


def _kinds() -> list[NamedTensor]:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(5, ml_dtypes.bfloat16),
        "c": np.array([1 + 2j, 3j], np.complex64),
        "e": np.zeros((0, 3)),
        "flag": np.array(True),
        "s": _strings(b"", b"one", b"x" * 130),
        "step": np.array(7, np.int64),
        "t": np.array(b"text", object),
    }
    return [NamedTensor(name, array) for name, array in arrays.items()]


def _bundles() -> Iterable[tuple[str, bytes]]:
    table = np.arange(24, dtype=np.float32).reshape(6, 4)
    slices = _partitioned("p", table, 2)
    bytes_ = _partitioned("q", np.arange(3, dtype=np.uint8), 3)
    many = [NamedTensor(f"layer_{n}/w", np.full(2, n, np.float32)) for n in range(80)]
    kinds = _bundle([_kinds()])
    yield "kinds", kinds
    yield "sharded", _bundle([_kinds()[:4], [*_kinds()[4:], *slices]])
    yield "slices", _bundle([[*slices, *bytes_]])
    yield "many", _bundle([many])
    yield "empty_table", pack({0: tables.put_together([])})
    yield "snappy", _golden("handmade/snappy_index", 0)
    yield "big_endian", _golden("handmade/big_endian", 0)
    yield "tiny_blocks", _golden("handmade/tiny_blocks", 0)
    yield "variant", _golden("v2_variant/model", 0)


def _bundle(shards: list[list[NamedTensor]]) -> bytes:
    storage = MemoryStorage()
    stage(storage, "m", shards, _OPTIONS).publish()
    return _packed(storage, BUNDLE_FILES)


def _golden(prefix: str, shard_id: int) -> bytes:
    index = (GOLDEN / f"{prefix}.index").read_bytes()
    data = (GOLDEN / f"{prefix}.data-{shard_id:05d}-of-00001").read_bytes()
    return pack({0: index, 1: data})


def _v1() -> Iterable[tuple[str, bytes]]:
    kinds = [tensor for tensor in _kinds() if tensor.name != "b"]
    table = np.arange(24, dtype=np.float32).reshape(6, 4)
    slices = _partitioned("p", table, 2)
    yield "kinds", _v1_file([kinds])
    yield "slices", _v1_file([slices])
    yield "sharded", _v1_file([kinds[:3] + slices[:1], kinds[3:] + slices[1:]])
    entries = tables.take_apart((GOLDEN / "v1_ckpt/model.ckpt-10").read_bytes())
    assert entries is not None
    yield "snappy", pack({0: tables.put_together(entries, compress=True, block_bytes=200)})
    yield "golden", pack({0: (GOLDEN / "v1_ckpt/model.ckpt-10").read_bytes()})


def _v1_file(shards: list[list[NamedTensor]]) -> bytes:
    storage = MemoryStorage()
    stage_v1(storage, "m" if len(shards) == 1 else "s", shards, _OPTIONS).publish()
    return _packed(storage, V1_FILES)


def _packed(storage: MemoryStorage, paths: tuple[str, ...]) -> bytes:
    found = {}
    for number, path in enumerate(paths):
        if storage.stat(path) is not None:
            file = storage.open(path)
            found[number] = file.read(0, file.size_bytes)
    return pack(found)


def _states() -> Iterable[tuple[str, bytes]]:
    yield "manager", _manager_state()
    yield "golden", (GOLDEN / "v2_saver/checkpoint").read_bytes()
    yield "relative", (GOLDEN / "v2_saver/checkpoint_rel").read_bytes()
    yield "v1", (GOLDEN / "v1_ckpt/checkpoint_sharded").read_bytes()
    yield "outside", b'model_checkpoint_path: "../run2/model.ckpt-9"\n'
    absolute = (
        b"model_checkpoint_path: '/etc/x'\nall_model_checkpoint_paths: ['/etc/x', 'model.ckpt-1']\n"
        b"all_model_checkpoint_timestamps: [1.5, inf]\nlast_preserved_timestamp: nan\n"
    )
    yield "absolute", absolute
    yield "escapes", b'# note\nmodel_checkpoint_path: "a\\000\\377\\n\\x41\\u00e4"\n'


def _manager_state() -> bytes:
    return (
        b'model_checkpoint_path: "model.ckpt-2"\nall_model_checkpoint_paths: "model.ckpt-1"\n'
        b'all_model_checkpoint_paths: "model.ckpt-2"\n'
        b"all_model_checkpoint_timestamps: 1795150342.25\n"
        b"all_model_checkpoint_timestamps: 1795150343.5\nlast_preserved_timestamp: 1795150340.5\n"
    )


def _managers() -> Iterable[tuple[str, bytes]]:
    note = (
        b'[{"latest": 2}, {"hours": 1.5}, {"steps": 100}, {"best": "loss", "n": 1, "mode": "min"}]'
    )
    marks = (
        b"deleting:model.ckpt-1\npins:model.ckpt-2\npublishing:model.ckpt-7\nwriters:" + b"a" * 32
    )
    held = b"\nholds:model.ckpt-1." + b"b" * 32
    state = {"w": np.zeros(3, np.float32)}
    yield "plain", pack({0: _metadata(state), 1: note, 2: marks + held, 3: _manager_state()})
    nested = {**state, "n": [1, 2.5, (True, None)], "s": "text", "big": 10**30}
    yield "nested", pack({0: _metadata(nested), 1: b'[{"custom": "x"}]', 2: b"", 3: b""})


def _metadata(state: dict[str, Any]) -> bytes:
    from ckptmgr.bundle.checkpoint_reader import CheckpointReader
    from ckptmgr.lifecycle.metadata import METADATA_NAME

    storage = MemoryStorage()
    with CheckpointManager(state, "run", storage=storage, clock=lambda: 1.5e9) as manager:
        manager.save(1, metrics={"loss": 0.5, "bad": float("nan")}, metadata={"note": ["x", 1]})
    with CheckpointReader("run/model.ckpt-1", storage=storage) as reader:
        data: bytes = reader.get_tensor(METADATA_NAME)
    return data


if __name__ == "__main__":
    main()
