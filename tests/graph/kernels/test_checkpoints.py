from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointReader, errors, naming
from ckptmgr.graph import create_op
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.session import Session
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import MemoryStorage, PosixStorage
from tests.graph.both_engines import compare, graph_def_of, imported

TOKEN = "0123456789abcdef" * 2


class Script:
    """A graph that saves and restores constants."""

    def __init__(self) -> None:
        self.graph = Graph()

    def strings(self, *values: str) -> Tensor:
        return constant(self.graph, list(values), "string")

    def text(self, value: str) -> Tensor:
        return constant(self.graph, value)

    def save(
        self, prefix: str, tensors: dict[str, Any], slices: Sequence[str] | None = None
    ) -> Operation:
        values = [constant(self.graph, value) for value in tensors.values()]
        specs = slices or [""] * len(values)
        inputs: list[Any] = [self.text(prefix), self.strings(*tensors), self.strings(*specs)]
        inputs.append(values)
        return create_op(self.graph, "SaveV2", inputs)

    def restore(self, prefix: str, names: dict[str, str], spec: str = "") -> list[Tensor]:
        specs = self.strings(*[spec] * len(names))
        inputs = [self.text(prefix), self.strings(*names), specs]
        attrs = {"dtypes": list(names.values())}
        return create_op(self.graph, "RestoreV2", inputs, attrs).outputs

    def merge(
        self, prefixes: Sequence[str], target: str, after: Sequence[Operation] = ()
    ) -> Operation:
        with self.graph.control_dependencies(list(after)):
            return create_op(
                self.graph, "MergeV2Checkpoints", [self.strings(*prefixes), self.text(target)]
            )


TENSORS: dict[str, Any] = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(3, np.int64),
    "text": np.array([b"a", b"bcd"], object),
    "empty": np.zeros((0, 4), np.float64),
}
TYPES = {"float": "float32", "scalar": "int64", "text": "string", "empty": "float64"}


def test_tensors_come_back(tmp_path: Path) -> None:
    script = Script()
    prefix = str(tmp_path / "new" / "model")
    save = script.save(prefix, TENSORS)
    restored = script.restore(prefix, TYPES)
    with Session(graph=script.graph) as session:
        session.run(save)
        compare(session.run(list(restored)), [value[()] for value in TENSORS.values()])
    assert sorted(os.listdir(tmp_path / "new")) == ["model.data-00000-of-00001", "model.index"]


def test_slices_of_one_tensor(tmp_path: Path) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    whole = np.arange(12, dtype=np.float32).reshape(4, 3)
    names = script.strings("t", "t")
    specs = script.strings("4 3 0,1:-", "4 3 1,3:-")
    parts = [constant(script.graph, whole[:1]), constant(script.graph, whole[1:])]
    save = create_op(script.graph, "SaveV2", [script.text(prefix), names, specs, parts])
    with Session(graph=script.graph) as session:
        session.run(save)
        assert session.run(script.restore(prefix, {"t": "float32"})[0]).tolist() == whole.tolist()
        part = script.restore(prefix, {"t": "float32"}, "4 3 0,2:1,2")[0]
        assert session.run(part).tolist() == whole[:2, 1:].tolist()
        with pytest.raises(errors.InvalidOperand, match="does not match the shape stored"):
            session.run(script.restore(prefix, {"t": "float32"}, "5 3 0,2:1,2")[0])
        with pytest.raises(errors.InvalidOperand, match="does not match the shape of the tensor"):
            session.run(script.save(prefix, {"t": whole}, ["4 3 0,2:-"]))


@pytest.mark.parametrize("temporary", [f"_temp_{TOKEN}/part", "_temp/part", ".part"])
def test_shards_are_merged_in_one_step(tmp_path: Path, temporary: str) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    parts = [f"{prefix}{temporary}-{number:05d}-of-00002" for number in range(2)]
    first = script.save(parts[0], {"a": 1.0, "t": [[1.0]]}, ["", "2 1 0,1:-"])
    second = script.save(parts[1], {"b": 2.0, "t": [[2.0]]}, ["", "2 1 1,1:-"])
    merge = script.merge(parts, prefix, [first, second])
    with Session(graph=script.graph) as session:
        session.run(merge)
    assert sorted(os.listdir(tmp_path)) == [
        "model.data-00000-of-00002",
        "model.data-00001-of-00002",
        "model.index",
    ]
    with CheckpointReader(prefix) as reader:
        assert {name: np.asarray(reader.get_tensor(name)).tolist() for name in "abt"} == {
            "a": 1.0,
            "b": 2.0,
            "t": [[1.0], [2.0]],
        }


def test_shards_that_nothing_merges_stay_under_their_names(tmp_path: Path) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    part = f"{prefix}_temp_{TOKEN}/part-00000-of-00001"
    save = script.save(part, {"a": 1.0})
    merge = script.merge([part], prefix)
    with Session(graph=script.graph) as session:
        session.run(save)
        assert os.path.exists(part + ".index")
        session.run(merge)
    assert not os.path.exists(part + ".index")
    with CheckpointReader(prefix) as reader:
        assert reader.get_tensor("a") == 1.0


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    parts = [f"{prefix}_temp_{TOKEN}/part-{number:05d}-of-00002" for number in range(2)]
    saves = [script.save(part, {"a": 1.0}) for part in parts]
    with Session(graph=script.graph) as session, pytest.raises(errors.InvalidOperand, match="'a'"):
        session.run(script.merge(parts, prefix, saves))
    assert os.listdir(tmp_path) == []


BAD_RESTORES = [
    ("model", {"b": "float32"}, errors.OperandNotFound, "Key b not found in checkpoint"),
    ("nowhere", {"a": "float32"}, errors.OperandNotFound, "Failed to find any matching files"),
    ("model", {"a": "float64"}, errors.InvalidOperand, "expected dtype float64 does not equal"),
]


@pytest.mark.parametrize(("base", "names", "kind", "message"), BAD_RESTORES)
def test_what_cannot_be_restored(
    tmp_path: Path, base: str, names: dict[str, str], kind: type[Exception], message: str
) -> None:
    script = Script()
    save = script.save(str(tmp_path / "model"), {"a": 1.0})
    restored = script.restore(str(tmp_path / base), names)
    with Session(graph=script.graph) as session:
        session.run(save)
        with pytest.raises(kind, match=message):
            session.run(list(restored))


def test_a_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    save = script.save(prefix, {"a": np.ones(8, np.float32)})
    restored = script.restore(prefix, {"a": "float32"})
    with Session(graph=script.graph) as session:
        session.run(save)
        data = Path(naming.data_shard(prefix, 0, 1))
        data.write_bytes(data.read_bytes()[:-1] + b"\x7f")
        with pytest.raises(errors.OperandDamaged, match="tensor 'a'"):
            session.run(list(restored))


def test_where_others_save_it_is_saved_under_their_lock(tmp_path: Path) -> None:
    script, prefix = Script(), str(tmp_path / "model")
    save = script.save(prefix, {"a": 1.0})
    with (
        RunDirectory(PosixStorage(), str(tmp_path)) as other,
        Session(graph=script.graph) as session,
    ):
        with other.locked():
            other.register_writer()
        session.run(save)
        with other.locked():
            # The session is a writer that the others know of.
            assert len(other.living_writers()) == 1
    assert os.path.exists(prefix + ".index")


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    script = Script()
    save = script.save(str(tmp_path / "missing" / "directory" / "model"), {"a": 1.0})
    with Session(graph=script.graph) as session, pytest.raises(errors.OperandNotFound):
        session.run(save)
    assert os.listdir(tmp_path) == []


def test_other_storages() -> None:
    script = Script()
    save = script.save("/run/model", {"a": 1.0})
    restored = script.restore("/run/model", {"a": "float32"})[0]
    storage = MemoryStorage()
    storage.make_dirs("/run")
    with Session(graph=script.graph, storage=storage) as session:
        session.run(save)
        assert session.run(restored) == 1.0


# --------------------------------------------------------------------------- with TensorFlow


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("sharded", [False, True])
def test_savers_of_tensorflow(tf: Any, tmp_path: Path, version: int, sharded: bool) -> None:
    """Its graph saves here and is restored there, and the other way round."""
    values: dict[str, Any] = {
        "v": np.arange(4, dtype=np.float32),
        "w": np.array(7, np.int64),
        "p": np.arange(20, dtype=np.float32).reshape(10, 2),
    }

    savers: list[Any] = []

    def build(tf1: Any) -> None:
        with tf1.device("/cpu:0"):
            tf1.get_variable("v", initializer=values["v"], use_resource=True)
        tf1.get_variable("w", initializer=values["w"], use_resource=False)
        tf1.get_variable(
            "p",
            shape=(10, 2),
            partitioner=tf1.fixed_size_partitioner(3),
            initializer=lambda shape, dtype, partition_info: tf1.constant(
                values["p"][partition_info.var_offset[0] :][: shape[0]]
            ),
            use_resource=False,
        )
        tf1.global_variables_initializer()
        savers.append(tf1.train.Saver(write_version=version, sharded=sharded).as_saver_def())

    graph_def = graph_def_of(tf, build)
    names = ["v:0", "w:0", "p/part_0:0", "p/part_1:0", "p/part_2:0"]
    feeds: dict[str, Any] = {"save/Const:0": str(tmp_path / "ours")}
    # A reference or a handle: what reads the variable is found by its consumers.
    names[0] = "v/Read/ReadVariableOp:0"
    save = savers[0].save_tensor_name
    tf1 = tf.compat.v1
    with Session(graph=imported(graph_def)) as session:
        session.run("init")
        wanted = session.run(names)
        saved = session.run(save, feeds)
        assert isinstance(saved, bytes)
        feeds = {"save/Const:0": saved}
    with tf.Graph().as_default() as theirs:
        tf.import_graph_def(tf1.GraphDef.FromString(graph_def), name="")
    with tf1.Session(graph=theirs) as session:
        session.run("save/restore_all", feeds)
        compare(session.run(names), wanted)
        feeds = {"save/Const:0": str(tmp_path / "theirs")}
        feeds = {"save/Const:0": session.run(save, feeds)}
    with Session(graph=imported(graph_def)) as session:
        session.run("save/restore_all", feeds)
        compare(session.run(names), wanted)
    ours, written = (
        {name.replace("theirs", "ours") for name in os.listdir(tmp_path) if base in name}
        for base in ("ours", "theirs")
    )
    assert ours == written
