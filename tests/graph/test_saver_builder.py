"""The operations of Savers: those that TensorFlow makes for the same program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ckptmgr import errors, graph
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.saveables import SaveableObject, SaveSpec, names_of, saveables_of
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_builder import BaseSaverBuilder
from ckptmgr.graph.variables import Variable
from tests.graph.engines import OURS, described


def test_what_a_program_extends_is_public() -> None:
    assert graph.BaseSaverBuilder is BaseSaverBuilder
    assert graph.SaveableObject is SaveableObject


def variables(v1: Any) -> tuple[Any, Any, Any]:
    ref = v1.Variable([1.0, 2.0], name="ref", use_resource=False)
    resource = v1.Variable([[1], [2]], name="resource", use_resource=True)
    text = v1.Variable(["a"], name="text", use_resource=False)
    return ref, resource, text


def default(v1: Any) -> Any:
    variables(v1)
    return v1.train.Saver()


def by_names(v1: Any) -> Any:
    ref, resource, _ = variables(v1)
    return v1.train.Saver({"other/name": ref, "b": resource}, name="mine", max_to_keep=3)


def several(v1: Any) -> Any:
    ref, resource, text = variables(v1)
    v1.train.Saver([ref])
    v1.train.Saver([text, resource], filename="given", keep_checkpoint_every_n_hours=2)
    return v1.train.Saver([resource], max_to_keep=None)


def reshaped(v1: Any) -> Any:
    variables(v1)
    return v1.train.Saver(reshape=True, restore_sequentially=True)


def sharded(v1: Any) -> Any:
    with v1.device("/cpu:0"):
        v1.Variable(1.0, name="a", use_resource=False)
        v1.Variable(1.0, name="c", use_resource=True)
    with v1.device("/job:ps/task:1"):
        v1.Variable(1.0, name="b", use_resource=False)
    with v1.device("/gpu:0"):
        v1.Variable(1.0, name="d", use_resource=True)
    v1.Variable(1.0, name="e", use_resource=False)
    return v1.train.Saver(sharded=True)


def sharded_v1(v1: Any) -> Any:
    with v1.device("/cpu:0"):
        v1.Variable(1.0, name="a", use_resource=False)
    v1.Variable(1.0, name="e", use_resource=False)
    return v1.train.Saver(sharded=True, write_version=v1.train.SaverDef.V1)


def version_1(v1: Any) -> Any:
    variables(v1)
    return v1.train.Saver(write_version=v1.train.SaverDef.V1)


def partitioned_ref(v1: Any) -> Any:
    part = v1.fixed_size_partitioner(3)
    whole = v1.get_variable("w", [7, 2], partitioner=part, use_resource=False)
    v1.train.Saver()
    return v1.train.Saver({"named": whole})


def partitioned_resource(v1: Any) -> Any:
    part = v1.fixed_size_partitioner(2)
    v1.get_variable("w", [7, 2], partitioner=part, use_resource=True)
    return v1.train.Saver()


PROGRAMS = [
    default,
    by_names,
    several,
    reshaped,
    sharded,
    sharded_v1,
    version_1,
    partitioned_ref,
    partitioned_resource,
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_operations_are_those_of_tensorflow(tf: Any, program: Callable[[Any], Any]) -> None:
    with tf.Graph().as_default() as theirs:
        their_def = program(tf.compat.v1).saver_def
    with Graph().as_default() as ours:
        our_def = program(OURS).saver_def
    assert described(ours) == described(theirs)
    assert our_def == SaverDef.FromString(their_def.SerializeToString())


def test_a_builder_reads_tensors_one_by_one(tf: Any) -> None:
    from tensorflow.python.training.saver import BaseSaverBuilder as TheirBuilder

    def program(v1: Any, builder: Any) -> Any:
        variables(v1)
        return v1.train.Saver(builder=builder)

    with tf.Graph().as_default() as theirs:
        program(tf.compat.v1, TheirBuilder())
    with Graph().as_default() as ours:
        program(OURS, BaseSaverBuilder())
    assert described(ours) == described(theirs)


def test_a_saveable_of_ones_own() -> None:
    class Doubled(SaveableObject):
        """A variable that is stored twice as large."""

        def __init__(self, variable: Variable, name: str) -> None:
            def doubled() -> Any:
                value = variable.value()
                return create_op(value.graph, "AddV2", [value, value]).outputs[0]

            spec = SaveSpec(doubled, "", name, dtype="float32", device="")
            super().__init__(variable, [spec], name)

        def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
            del restored_shapes
            return self.op.assign(restored_tensors[0], read_value=False)

    with Graph().as_default() as graph:
        variable = Variable(2.0, name="v")
        graph.add_to_collection("saveable_objects", Doubled(variable, "twice"))
        Saver()
        written = graph.get_operation_by_name("save/SaveV2")
        names = list(graph.get_operation_by_name("save/SaveV2/tensor_names").get_attr("value"))
    assert names == [b"twice", b"v"]
    assert [tensor.op.type for tensor in written.inputs[3:]] == ["AddV2", "VariableV2"]


def _two_of_one_name() -> Any:
    variable = Variable(1.0, name="v")
    return names_of([variable, variable])


def _two_names_for_one() -> Any:
    variable = Variable(1.0, name="v")
    return saveables_of({"a": variable, "b": variable})


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (_two_of_one_name, ValueError, "At least two variables have the same name: v"),
    (_two_names_for_one, ValueError, "restored with two names"),
    (lambda: saveables_of({1: Variable(1.0)}), TypeError, "not a string"),
    (lambda: saveables_of({"a": 3}), TypeError, "Not a variable: 3"),
    (lambda: saveables_of({"a": OURS.constant(1.0)}), TypeError, "Not a variable"),
    (lambda: saveables_of({"a": [Variable(1.0)]}), ValueError, "Slices must all be slices"),
    (lambda: names_of("abc"), TypeError, "in a dict or a list"),
    (lambda: names_of([3]), TypeError, "not a Variable: 3"),
    (Saver, ValueError, "No variables to save"),
    (lambda: Saver([Variable(1.0)], defer_build=True), ValueError, "build cannot be deferred"),
    (lambda: Saver([Variable(1.0)], write_version=7), errors.InvalidArgument, "write_version"),
    (lambda: Saver(saver_def=SaverDef()), ValueError, "filename_tensor_name is empty"),
]


@pytest.mark.parametrize(("make", "kind", "text"), REFUSED)
def test_refused(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with Graph().as_default(), pytest.raises(kind, match=text):
        make()
