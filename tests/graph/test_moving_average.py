"""Moving averages: TensorFlow's operations, names and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr._proto.control_flow_pb2 import CondContextDef
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.moving_average import ExponentialMovingAverage
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import import_meta_graph
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable
from tests.graph.engines import OURS, described


def variables(v1: Any) -> tuple[Any, Any]:
    ref = v1.Variable([1.0, 2.0], name="ref", use_resource=False)
    resource = v1.Variable([[1.0], [2.0]], name="resource", use_resource=True)
    return ref, resource


def averaged(v1: Any) -> Any:
    variables(v1)
    return v1.train.ExponentialMovingAverage(0.9).apply()


def twice(v1: Any) -> Any:
    ref, resource = variables(v1)
    first = v1.train.ExponentialMovingAverage(0.9)
    first.apply([ref])
    first.apply([ref, resource])
    return v1.train.ExponentialMovingAverage(0.5, name="slow").apply([resource])


def counted(v1: Any) -> Any:
    ref, resource = variables(v1)
    step = v1.Variable(3, name="step", use_resource=True, trainable=False)
    return v1.train.ExponentialMovingAverage(0.99, num_updates=step).apply([ref, resource])


def of_doubles(v1: Any) -> Any:
    value = np.array([1.0, 2.0])
    v = v1.Variable(value, name="v", use_resource=False)
    return v1.train.ExponentialMovingAverage(0.9, num_updates=5).apply([v])


def within_scope(v1: Any) -> Any:
    with v1.name_scope("train"):
        return averaged(v1)


@pytest.mark.parametrize("program", [averaged, twice, counted, of_doubles, within_scope])
def test_operations_are_those_of_tensorflow(tf: Any, program: Callable[[Any], Any]) -> None:
    v1 = tf.compat.v1
    v1.disable_control_flow_v2()  # as in a program that disables TensorFlow 2's behavior
    with tf.Graph().as_default() as theirs:
        program(v1)
        contexts = [item.to_proto() for item in theirs.get_collection("cond_context")]
    with Graph().as_default() as ours:
        program(OURS)
    assert described(ours) == described(theirs)
    found = [item.to_proto() for item in ours.get_collection("cond_context")]
    assert found == [CondContextDef.FromString(item.SerializeToString()) for item in contexts]


def _run(v1: Any, tf: Any, zero_debias: bool) -> list[Any]:
    with v1.Graph().as_default():
        ref, resource = variables(v1)
        doubled = ref.read_value()
        ema = v1.train.ExponentialMovingAverage(0.9, zero_debias=zero_debias)
        update = ema.apply([ref, resource, doubled])
        init = v1.global_variables_initializer()
        with v1.Session() as session:
            session.run(init)
            for _ in range(3):
                session.run(ref.assign_add([1.0, 1.0]))
                session.run(resource.assign_add([[2.0], [2.0]]))
                session.run(update)
            return [session.run(ema.average(item)) for item in (ref, resource, doubled)]


@pytest.mark.parametrize("zero_debias", [False, True])
def test_numbers_are_those_of_tensorflow(tf: Any, zero_debias: bool) -> None:
    theirs = _run(tf.compat.v1, tf, zero_debias)
    for found, wanted in zip(_run(OURS, tf, zero_debias), theirs, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_averages_are_restored_in_place_of_values(golden: Path, load_expected: Any) -> None:
    expected = load_expected("graphs")
    names = json.loads((golden / "graphs/ema_variables_to_restore.json").read_text())
    with Graph().as_default():
        w = Variable(np.zeros((2, 2), np.float32), name="w")
        Variable(np.zeros(2, np.float32), name="r", use_resource=True)
        Variable(0, name="non_trainable", trainable=False)
        ema = ExponentialMovingAverage(0.9)
        assert ema.average(w) is None
        restored = ema.variables_to_restore()
        assert {name: variable.name for name, variable in restored.items()} == names
        saver = Saver(restored)
        with Session() as session:
            saver.restore(session, str(golden / "graphs/ema.ckpt"))
            average = expected["ema.ckpt:w/ExponentialMovingAverage"]
            np.testing.assert_array_equal(session.run(w), average)


def test_names_of_an_imported_graph(golden: Path) -> None:
    names = json.loads((golden / "graphs/ema_variables_to_restore.json").read_text())
    with Graph().as_default():
        import_meta_graph(golden / "graphs/ema.ckpt.meta")
        ema = ExponentialMovingAverage(0.9)
        found = ema.variables_to_restore()
    assert set(names) <= {name.replace("_1", "") for name in found}


def test_integers_have_no_average() -> None:
    with Graph().as_default(), pytest.raises(TypeError, match="must be half, float, or double: v"):
        ExponentialMovingAverage(0.9).apply([Variable(1, name="v")])
