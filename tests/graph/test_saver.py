"""Savers of graphs: files that pass between TensorFlow and us, and what happens to them in time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.graph import saver_operations
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.meta_graph import read_meta_graph_file
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import import_meta_graph
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable, global_variables, global_variables_initializer
from ckptmgr.lifecycle.state import get_checkpoint_state
from ckptmgr.storage import MemoryStorage, PowerLossStorage
from tests.graph.engines import OURS

VALUES = {
    "ref": np.array([[1.5, -2.0]], np.float32),
    "resource": np.array([1, 2, 3], np.int64),
    "text": np.array([b"a", b"bc"], object),
    "scalar": np.array(7.0, np.float64),
    "flag": np.array(True),
}


def build(v1: Any, **options: Any) -> Any:
    """A program of variables of all kinds, with its Saver and initializer."""
    for name, value in VALUES.items():
        with v1.device("/cpu:0" if name == "resource" else None):
            v1.Variable(value, name=name, use_resource=name == "resource", dtype=_dtype(v1, value))
    part = v1.fixed_size_partitioner(2)
    initial = v1.constant(np.arange(10, dtype=np.float32).reshape(5, 2))
    v1.get_variable("whole", initializer=initial, partitioner=part, use_resource=False)
    return v1.train.Saver(**options), v1.global_variables_initializer()


def _dtype(v1: Any, value: Any) -> Any:
    return "string" if value.dtype == object and v1 is OURS else None


def check(values: dict[str, Any]) -> None:
    expected = {**VALUES}
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    np.testing.assert_array_equal(values["whole/part_0"], np.arange(6.0).reshape(3, 2))


def values_of(v1: Any, session: Any) -> dict[str, Any]:
    return {v.name.removesuffix(":0"): session.run(v) for v in v1.global_variables()}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"sharded": True},
    {"write_version": 1},
    {"write_version": 1, "sharded": True},
    {"reshape": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_tensorflow_reads_ours_and_we_read_theirs(
    tf: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    engines = {"ours": OURS, "theirs": tf.compat.v1}
    saved = {}
    for name, v1 in engines.items():
        with v1.Graph().as_default():
            saver, init = build(v1, **options)
            with v1.Session() as session:
                session.run(init)
                path = str(tmp_path / name / "model.ckpt")
                os.mkdir(tmp_path / name)
                saved[name] = saver.save(session, path, global_step=3)
    for writer, prefix in saved.items():
        stem = tmp_path / writer / "model.ckpt-3"
        for reader, v1 in engines.items():
            with v1.Graph().as_default():
                again = v1.train.import_meta_graph(f"{stem}.meta")
                with v1.Session() as session:
                    again.restore(session, prefix)
                    check(values_of(v1, session))
                    third = again.save(session, str(tmp_path / f"{writer}-{reader}"))
                assert os.path.exists(f"{tmp_path}/{writer}-{reader}.meta")
                with CheckpointReader(third) as stored:
                    np.testing.assert_array_equal(
                        stored.get_tensor("whole"), np.arange(10.0).reshape(5, 2)
                    )
    assert (tmp_path / "ours" / "checkpoint").read_text().replace("/ours/", "/theirs/") == (
        tmp_path / "theirs" / "checkpoint"
    ).read_text()


def simple() -> tuple[Variable, Saver, Any]:
    variable = Variable([1.0, 2.0], name="v")
    return variable, Saver(), global_variables_initializer()


def test_the_saved_graph_names_its_saver(tmp_path: Path) -> None:
    with Graph().as_default():
        _, saver, init = simple()
        with Session() as session:
            session.run(init)
            saver.save(session, str(tmp_path / "m"), meta_graph_suffix="graph")
    assert read_meta_graph_file(tmp_path / "m.graph").saver_def == saver.saver_def


def test_checkpoints_leave_the_window_with_their_graphs(tmp_path: Path) -> None:
    with Graph().as_default():
        _, _, init = simple()
        saver = Saver(max_to_keep=2)
        with Session() as session:
            session.run(init)
            for step in range(4):
                saver.save(session, str(tmp_path / "m"), step, meta_graph_suffix="graph")
    files = {name for name in os.listdir(tmp_path) if not name.startswith(".")}
    wanted = {f"m-{step}.{end}" for step in (2, 3) for end in ("index", "graph")}
    wanted |= {f"m-{step}.data-00000-of-00001" for step in (2, 3)}
    assert files == wanted | {"checkpoint"}
    assert saver.last_checkpoints == [str(tmp_path / "m-2"), str(tmp_path / "m-3")]
    state = get_checkpoint_state(tmp_path)
    assert state is not None
    assert list(state.all_model_checkpoint_paths) == saver.last_checkpoints


def test_no_graph_and_no_state(tmp_path: Path) -> None:
    with Graph().as_default():
        _, saver, init = simple()
        with Session() as session:
            session.run(init)
            options: dict[str, Any] = {"write_meta_graph": False, "write_state": False}
            assert saver.save(session, str(tmp_path / "m"), **options) == str(tmp_path / "m")
    visible = [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert sorted(visible) == ["m.data-00000-of-00001", "m.index"]


def test_the_step_comes_from_the_graph(tmp_path: Path) -> None:
    with Graph().as_default():
        _, saver, init = simple()
        step = Variable(41, name="step", trainable=False)
        with Session() as session:
            session.run([init, step.initializer])
            for given in (step, "step:0", step.value(), np.int64(41)):
                prefix = saver.save(session, str(tmp_path / "m"), global_step=given)
                assert prefix == str(tmp_path / "m-41")


def test_a_failing_save_changes_nothing(tmp_path: Path) -> None:
    with Graph().as_default():
        variable, saver, _ = simple()
        with Session() as session:
            with pytest.raises(errors.UninitializedVariable, match="v"):
                saver.save(session, str(tmp_path / "m"), 1)
            assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []
            variable.load([1.0, 2.0], session)
            saver.save(session, str(tmp_path / "m"), 1)


def test_an_empty_saver_writes_the_graph(tmp_path: Path) -> None:
    with Graph().as_default():
        OURS.constant(1.0, name="alone")
        saver = Saver(allow_empty=True)
        with Session() as session:
            assert saver.save(session, str(tmp_path / "m"), 1) is None
            saver.restore(session, str(tmp_path / "nothing"))
    assert read_meta_graph_file(tmp_path / "m-1.meta").graph_def.node[0].name == "alone"
    with Graph().as_default():
        assert import_meta_graph(tmp_path / "m-1.meta") is None


def test_a_deferred_saver() -> None:
    with Graph().as_default():
        saver = Saver(defer_build=True)
        Variable(1.0, name="later")
        with Session() as session, pytest.raises(RuntimeError, match=r"`build\(\)` should be"):
            saver.save(session, "m")
        saver.build()
        assert saver.as_saver_def() is not None


def test_other_operations_for_saving_are_run(tmp_path: Path) -> None:
    """Whoever fetches only what SaveV2 takes would miss them."""
    with Graph().as_default() as graph:
        variable, saver, init = simple()
        assert saver.saver_def is not None
        prefix = graph.get_tensor_by_name(saver.saver_def.filename_tensor_name)
        with graph.control_dependencies([graph.get_operation_by_name("save/SaveV2")]):
            changed = variable.assign([3.0, 3.0])
        with graph.control_dependencies([changed.op]):
            told = graph.create_op("Identity", [prefix], name="told").outputs[0]
        own = SaverDef()
        own.CopyFrom(saver.saver_def)
        own.save_tensor_name = told.name
        with Session() as session:
            session.run(init)
            path = Saver(saver_def=own).save(session, str(tmp_path / "m"))
            assert path == str(tmp_path / "m")
            np.testing.assert_array_equal(session.run(variable), [3.0, 3.0])
    with CheckpointReader(path) as reader:
        np.testing.assert_array_equal(reader.get_tensor("v"), [1.0, 2.0])
    assert (tmp_path / "checkpoint").exists()


MISMATCHES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: Variable([1.0, 2.0], name="renamed"),
        errors.TensorNotFound,
        r"Key renamed not found in checkpoint .*/m\.",
    ),
    (
        lambda: Variable([1, 2], name="v"),
        errors.DtypeMismatch,
        "tensor_name = v; expected dtype int32 does not equal original dtype float",
    ),
    (
        lambda: Variable([1.0, 2.0, 3.0], name="v"),
        errors.ShapeMismatch,
        r"lhs shape= \[3\] rhs shape= \[2\]",
    ),
    (
        lambda: Variable([1.0, 2.0, 3.0], name="v", use_resource=True),
        errors.ShapeMismatch,
        r"lhs shape= \[3\] rhs shape= \[2\]",
    ),
]


@pytest.mark.parametrize(("make", "kind", "text"), MISMATCHES)
def test_a_restore_that_cannot_be_changes_nothing(
    tmp_path: Path, make: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with Graph().as_default():
        _, saver, init = simple()
        with Session() as session:
            session.run(init)
            prefix = saver.save(session, str(tmp_path / "m"))
    assert prefix is not None
    with Graph().as_default():
        fine = Variable([9.0, 9.0], name="fine")
        Saver({"v": fine})
        variable = make()
        saver = Saver({variable.op.name: variable})
        with Session() as session:
            session.run(global_variables_initializer())
            before = session.run(variable)
            with pytest.raises(kind, match=text):
                saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(variable), before)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (None, "Can't load save_path when it is None"),
        ("nowhere/m", "The passed save_path is not a valid checkpoint: nowhere/m"),
    ],
)
def test_nothing_to_restore(path: Any, text: str) -> None:
    with Graph().as_default():
        _, saver, _ = simple()
        with Session() as session, pytest.raises(ValueError, match=text):
            saver.restore(session, path)


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
def test_a_checkpoint_of_tensorflow_2(golden: Path, load_expected: Any, use_resource: bool) -> None:
    expected = load_expected("obj_ckpt")
    names = {"kernel": "net/layer/kernel", "bias": "net/layer/bias", "s": "net/d/plain"}
    stored = {name: expected[f"ckpt-3:{key}"] for name, key in names.items()}
    with Graph().as_default():
        restored = {
            name: Variable(_blank(value), name=name, use_resource=use_resource)
            for name, value in stored.items()
        }
        saver = Saver()
        with Session() as session:
            saver.restore(session, str(golden / "obj_ckpt" / "ckpt-3"))
            for name, value in stored.items():
                np.testing.assert_array_equal(session.run(restored[name]), value)
        Variable(0.0, name="absent")
        with (
            Session() as session,
            pytest.raises(errors.TensorNotFound, match="not in the checkpoint: absent"),
        ):
            Saver().restore(session, str(golden / "obj_ckpt" / "ckpt-3"))


def test_history() -> None:
    with Graph().as_default():
        _, saver, _ = simple()
        saver.set_last_checkpoints(["a", "b"])
        assert saver.last_checkpoints == ["a", "b"]
        saver.set_last_checkpoints_with_time([("c", 1.0)])
        assert saver.last_checkpoints == ["c"]
        saver.recover_last_checkpoints(["nowhere/m-1"])
        assert saver.last_checkpoints == []


def test_messages_in_scopes() -> None:
    with Graph().as_default() as graph:
        with graph.name_scope("outer"):
            _, saver, _ = simple()
        message = saver.to_proto()
        inner = saver.to_proto(export_scope="outer")
        assert inner is not None
        assert inner.restore_op_name == "save/restore_all"
        assert Saver.from_proto(inner, import_scope="outer").saver_def == message
        assert saver.to_proto(export_scope="elsewhere") is None


def test_another_storage() -> None:
    storage = MemoryStorage()
    storage.make_dirs("run")
    with Graph().as_default():
        variable = Variable([1.0, 2.0], name="v")
        saver, init = Saver(storage=storage), global_variables_initializer()
        with Session(storage=storage) as session:
            session.run(init)
            prefix = saver.save(session, "run/m", 1)
            variable.load([0.0, 0.0], session)
            assert prefix is not None
            saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(variable), [1.0, 2.0])
            assert [v.op.name for v in global_variables()] == ["v"]
    assert "m-1.meta" in storage.list_dir("run")


def _blank(value: Any) -> Any:
    return np.full_like(value, b"" if value.dtype == object else 0)


def test_a_checkpoint_that_exists_has_its_graph_after_every_power_cut() -> None:
    storage = PowerLossStorage()
    storage.make_dirs("/run")
    storage = PowerLossStorage(storage.image())
    with Graph().as_default():
        variable = Variable([1.0, 2.0], name="v")
        saver, init = Saver(storage=storage, max_to_keep=1), global_variables_initializer()
        with Session() as session:
            session.run(init)
            change = variable.assign([3.0, 4.0])
            saver.save(session, "/run/m", 1)
            before = storage.num_changes
            session.run(change)
            saver.save(session, "/run/m", 2)
    graph = storage.image().read("/run/m-2.meta")
    complete = 0
    for cut in storage.power_cuts(before, storage.num_changes):
        names = cut.image.names
        if "/run/m-2.index" in names:
            assert cut.image.read("/run/m-2.meta") == graph
            complete += 1
        state = cut.image.read("/run/checkpoint").decode()
        latest = state.partition('"')[2].partition('"')[0]
        assert f"{latest}.index" in names
        assert cut.image.read(f"{latest}.meta") == graph
    assert complete > 1


@pytest.mark.parametrize("sess", [None, "sess"])
def test_what_is_no_session_is_said(sess: Any, tmp_path: Path) -> None:
    with Graph().as_default():
        Variable(1.0, name="v")
        with pytest.raises(TypeError, match=f"found {type(sess).__name__} for it"):
            Saver().save(sess, str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_a_resource_variable_whose_snapshot_reads_nothing() -> None:
    with Graph().as_default():
        variable = Variable(1.0, name="v", use_resource=True)
        described = variable.to_proto()
        assert described is not None
        described.snapshot_name = described.variable_name
        saver = Saver([Variable.from_proto(described)])
        assert saver.saver_def is not None
        writes = saver_operations.find_writes(
            variable.graph.get_tensor_by_name(saver.saver_def.save_tensor_name)
        )
    assert writes is not None
    assert [op.inputs[-1].op.type for op in writes] == ["Identity"]


@pytest.mark.parametrize("others", [[], [b"another"]])
def test_a_restore_of_names_that_are_repeated_very_often(others: list[bytes]) -> None:
    with Graph().as_default() as graph:
        Variable(1.0, name="v")
        saver = Saver()
        graph_def = graph.as_graph_def()
    for node in graph_def.node:
        if node.name == "save/RestoreV2/tensor_names":
            node.attr["value"].tensor.tensor_shape.dim[0].size = 2**50
            node.attr["value"].tensor.string_val.extend(others)
    imported = Graph()
    import_graph_def(graph_def, name="", graph=imported)
    assert saver.saver_def is not None
    restore = imported.get_operation_by_name(saver.saver_def.restore_op_name)
    with pytest.raises(errors.InvalidGraph, match=f"{2**50} names, 1 slices and 1 outputs"):
        saver_operations.find_reads(restore)
