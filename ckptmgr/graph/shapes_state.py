"""Shapes of variables, tables, placeholders, files and parsed examples."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import Size, of_rank, shape_function, shape_of
from ckptmgr.graph.tensor_shape import Shape, are_compatible, as_text, merge


@shape_function("Placeholder", "PlaceholderV2", "VariableV2", "TemporaryVariable")
def stated(op: Operation) -> Sequence[Shape]:
    return [op.get_attr("shape")]


@shape_function("Variable")
def old_variable(op: Operation) -> Sequence[Shape]:
    """No dimensions meant that nothing was known, when this was written."""
    return [op.get_attr("shape") or None]


@shape_function("PlaceholderWithDefault")
def placeholder_with_default(op: Operation) -> Sequence[Shape]:
    default, shape = shape_of(op, 0), op.get_attr("shape")
    if not are_compatible(default, shape):
        raise errors.GraphError(f"a default value that does not fit shape {as_text(shape)}")
    return [shape]


@shape_function("ReadVariableOp")
def read_variable(op: Operation) -> Sequence[Shape]:
    return [op.inputs[0]._handle_shape]


@shape_function("Assign")
def assign(op: Operation) -> Sequence[Shape]:
    variable, value = shape_of(op, 0), shape_of(op, 1)
    return [merge(variable, value) if op.get_attr("validate_shape") else value]


@shape_function("AssignAdd", "AssignSub")
def assign_change(op: Operation) -> Sequence[Shape]:
    return [merge(shape_of(op, 0), shape_of(op, 1))]


@shape_function("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
def assign_resource(op: Operation) -> Sequence[Shape]:
    if not are_compatible(op.inputs[0]._handle_shape, shape_of(op, 1)):
        raise errors.GraphError(
            f"Shapes must be equal: the variable has "
            f"{as_text(op.inputs[0]._handle_shape)}, the value {as_text(shape_of(op, 1))}"
        )
    return []


@shape_function("ScatterUpdate", "ScatterAdd", "ScatterSub", "ScatterMul", "ScatterDiv")
@shape_function("ScatterMin", "ScatterMax", "ScatterNdUpdate", "ScatterNdAdd", "ScatterNdSub")
@shape_function("CountUpTo")
def changed_variable(op: Operation) -> Sequence[Shape]:
    return [shape_of(op, 0)]


@shape_function("HashTable", "MutableHashTable", "FIFOQueue", "RandomShuffleQueue")
@shape_function("TextLineReader", "TFRecordReader", "WholeFileReader", "IdentityReader")
def old_handle(_: Operation) -> Sequence[Shape]:
    return [(2,)]


@shape_function("RestoreV2")
def restore(op: Operation) -> Sequence[Shape]:
    """A slice that is asked for says its shape."""
    specs = op.inputs[2].op
    if specs.type != "Const" or specs.outputs[0].partial_shape != (len(op.outputs),):
        return [None] * len(op.outputs)
    return [_slice_shape(spec) for spec in specs.get_attr("value")]


def _slice_shape(spec: bytes) -> Shape:
    """The shape in "4 3 0,2:-", the sizes of the whole and what is taken of each."""
    if len(spec) > 8192:
        return None
    *wholes, parts = spec.split(b" ")
    extents = parts.split(b":")
    if not wholes or len(extents) != len(wholes):
        return None
    sizes = (_extent(extent, whole) for extent, whole in zip(extents, wholes, strict=True))
    return tuple(sizes)


def _extent(extent: bytes, whole: bytes) -> Size:
    length = whole if extent == b"-" else extent.partition(b",")[2]
    return int(length) if length.isdigit() and len(length) < 19 else None


@shape_function("IteratorGetNext", "QueueDequeueV2", "QueueDequeue", "If", "StatelessIf")
@shape_function("While", "StatelessWhile", "Case", "StatelessCase")
def stated_for_each(op: Operation) -> Sequence[Shape]:
    name = "shapes" if op.type.startswith("Queue") else "output_shapes"
    shapes: list[Shape] = op.get_attr(name) if op.has_attr(name) else []
    if not shapes and op.type in ("While", "StatelessWhile"):
        return [tensor.partial_shape for tensor in op.inputs]
    return shapes if len(shapes) == len(op.outputs) else [None] * len(op.outputs)


@shape_function("ParseExample")
def parse_example(op: Operation) -> Sequence[Shape]:
    return _parsed(of_rank(shape_of(op, 0), 1), op)


@shape_function("ParseExampleV2")
def parse_example_v2(op: Operation) -> Sequence[Shape]:
    batch = shape_of(op, 0)
    if batch is None or op.get_attr("ragged_value_types"):
        return [None] * len(op.outputs)
    return _parsed(batch, op)


@shape_function("ParseSingleExample")
def parse_single_example(op: Operation) -> Sequence[Shape]:
    return _parsed((), op)


def _parsed(batch: tuple[Size, ...], op: Operation) -> list[Shape]:
    """Indices, values and shapes of the sparse features, and the dense ones."""
    sparse = len(op.get_attr("sparse_types"))
    indices: list[Shape] = [(None, len(batch) + 1)] * sparse
    values: list[Shape] = [(None,)] * sparse
    shapes: list[Shape] = [(len(batch) + 1,)] * sparse
    dense: list[Shape] = [
        None if shape is None else batch + shape for shape in op.get_attr("dense_shapes")
    ]
    return [*indices, *values, *shapes, *dense]


@shape_function("StringSplit", "StringSplitV2")
def string_split(_: Operation) -> Sequence[Shape]:
    return [(None, 2), (None,), (2,)]
