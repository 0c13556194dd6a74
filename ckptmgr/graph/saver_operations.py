"""What the save and restore operations of a Saver take and give, found in the graph.

A save does not run its SaveV2: it fetches what that would write, so that the tensors, the graph and
the state become one commit. A restore is compared with the checkpoint before it is run, so that one
which cannot succeed changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import parse_slice_spec, resolve_slice
from ckptmgr.graph.object_names import keys_by_name
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import Shape, are_compatible

_WRITES = frozenset({"SaveV2", "SaveSlices", "Save"})
_READS = "RestoreV2"
#: What a Saver puts around its writes: it changes nothing that the names and tensors do not say.
_AROUND_WRITES = frozenset(
    {
        "Const",
        "Identity",
        "MergeV2Checkpoints",
        "NoOp",
        "Pack",
        "Placeholder",
        "PlaceholderWithDefault",
        "RegexFullMatch",
        "Select",
        "ShardedFilename",
        "ShardedFilespec",
        "StaticRegexFullMatch",
        "StringJoin",
    }
)

_MISSING = (
    "Restoring from checkpoint failed. This is most likely due to a Variable name or other graph "
    "key that is missing from the checkpoint. Please ensure that you have not altered the graph "
    "expected based on the checkpoint. Original error:\n\n"
)
_MISMATCH = (
    "Restoring from checkpoint failed. This is most likely due to a mismatch between the current "
    "graph and the graph from the checkpoint. Please ensure that you have not altered the graph "
    "expected based on the checkpoint. Original error:\n\n"
)


def _behind(last: Operation, stop_at: frozenset[str]) -> list[Operation]:
    """All that an operation waits for, itself included, in the order of the graph.

    Nothing behind an operation of a type in `stop_at`.
    """
    found: dict[Operation, None] = {}
    pending = [last]
    while pending:
        op = pending.pop()
        if op in found:
            continue
        found[op] = None
        if op.type not in stop_at:
            pending.extend(tensor.op for tensor in op.inputs)
            pending.extend(op.control_inputs)
    if len(found) == 1:
        return list(found)
    return [op for op in last.graph.get_operations() if op in found]


# --------------------------------------------------------------------------- saving


def find_writes(save_tensor: Tensor) -> list[Operation] | None:
    """The operations that would write, one per shard; None if others do who knows what."""
    found = _behind(save_tensor.op, _WRITES)
    if any(op.type not in _WRITES and op.type not in _AROUND_WRITES for op in found):
        return None
    return [op for op in found if op.type in _WRITES]


def fetch_shards(
    session: Any, writes: Sequence[Operation], feeds: dict[Tensor, Any]
) -> list[list[NamedTensor]]:
    """The tensors of each shard, as the session has them now."""
    wanted = [op.inputs[1:] for op in writes]
    values = session.run(wanted, feeds)
    return [_named(op, fetched) for op, fetched in zip(writes, values, strict=True)]


def _named(write: Operation, fetched: Sequence[Any]) -> list[NamedTensor]:
    names = _texts(fetched[0])
    has_slices = write.type != "Save"
    slices = _texts(fetched[1]) if has_slices else [""] * len(names)
    first = 2 if has_slices else 1
    if not len(names) == len(slices) == len(fetched) - first:
        raise errors.GraphError(
            f"{write.type} operation {write.name!r} must have a name and a slice for each tensor, "
            f"found {len(names)} names, {len(slices)} slices, {len(fetched) - first} tensors"
        )
    tensors = write.inputs[1 + first :]
    return [
        NamedTensor(name, _array(value, tensor), _partition(spec))
        for name, spec, value, tensor in zip(names, slices, fetched[first:], tensors, strict=True)
    ]


def _texts(value: Any) -> list[str]:
    return [item.decode("utf-8", "replace") for item in np.asarray(value, dtype=object).reshape(-1)]


def _array(value: Any, tensor: Tensor) -> np.ndarray[Any, Any]:
    # A single string would become an array of its length.
    return np.asarray(value, dtype=object if tensor.dtype.base_dtype == "string" else None)


def _partition(spec: str) -> Partition | None:
    parsed = parse_slice_spec(spec)
    if parsed is None:
        return None
    full_shape, tensor_slice = parsed
    return Partition(full_shape, resolve_slice(tensor_slice, full_shape).starts)


# --------------------------------------------------------------------------- restoring


@dataclass(frozen=True, slots=True)
class Read:
    """One tensor that a restore reads."""

    name: str
    slice_spec: str
    output: Tensor


def find_reads(restore_op: Operation) -> list[Read]:
    """What a restore reads, as far as its graph tells."""
    return [
        read
        for op in _behind(restore_op, frozenset({_READS}))
        if op.type == _READS
        for read in _reads_of(op)
    ]


def _reads_of(op: Operation) -> Iterator[Read]:
    names, specs = op.inputs[1].op, op.inputs[2].op
    if names.type == "Const" and specs.type == "Const":
        # Before they are decoded: a few bytes can say that one text is repeated 2**50 times.
        sizes = [constant.outputs[0].shape.num_elements() for constant in (names, specs)]
        if not sizes[0] == sizes[1] == len(op.outputs):
            raise errors.InvalidGraph(
                f"{op.type} operation {op.name!r} must give a tensor per name and per slice: it "
                f"has {sizes[0]} names, {sizes[1]} slices and {len(op.outputs)} outputs"
            )
        texts = [_texts(constant.get_attr("value")) for constant in (names, specs)]
        for name, spec, output in zip(*texts, op.outputs, strict=True):
            yield Read(name, spec, output)


def check_reads(reads: Sequence[Read], reader: CheckpointReader) -> None:
    """Compare what a restore reads with what there is.

    Raises:
        TensorNotFound: Something is missing.
        DtypeMismatch, ShapeMismatch: Something is of another dtype, or a variable of another shape.
    """
    shapes = reader.get_variable_to_shape_map()
    missing = [read.name for read in reads if read.name not in shapes]
    if missing:
        wanted = "\n".join(
            f"Key {name} not found in checkpoint {reader.prefix}.{errors.near_misses(name, shapes)}"
            for name in missing
        )
        raise errors.TensorNotFound(_MISSING + wanted)
    stored = reader.get_variable_to_dtype_map()
    mismatches = [
        f"tensor_name = {read.name}; expected dtype {_kind(read.output.data_type)} does not equal "
        f"original dtype {_kind(dtypes.from_numpy(stored[read.name]))}"
        for read in reads
        if not _same_kind(read.output.data_type, stored[read.name])
    ]
    if mismatches:
        raise errors.DtypeMismatch(_MISMATCH + "\n".join(mismatches))
    mismatches = [
        f"Assign requires shapes of both tensors to match. lhs shape= {_sizes(wanted)} rhs shape= "
        f"{_sizes(found)} (tensor {read.name!r})"
        for read in reads
        for wanted, found in _shape_pairs(read, tuple(shapes[read.name]))
        if not are_compatible(wanted, found)
    ]
    if mismatches:
        raise errors.ShapeMismatch(_MISMATCH + "\n".join(mismatches))


def _same_kind(wanted: DataType, stored: np.dtype[Any]) -> bool:
    if stored.kind == "V" and stored == np.dtype(np.void):
        return True  # no array holds it; the operation that reads it will tell
    if stored.kind == "O":
        return wanted == DataType.DT_STRING
    return dtypes.to_numpy(wanted) == stored


def _kind(number: int) -> str:
    """As TensorFlow's runtime names a type."""
    names = {"float32": "float", "float64": "double", "float16": "half"}
    name = dtypes.name(number)
    return names.get(name, name)


def _sizes(shape: Shape) -> str:
    if shape is None:
        return "<unknown>"
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"


def _shape_pairs(read: Read, stored: tuple[int, ...]) -> Iterator[tuple[Shape, Shape]]:
    """The shapes that have to agree: of the variable, and of what it is to be given."""
    if read.slice_spec:
        parsed = parse_slice_spec(read.slice_spec)
        assert parsed is not None
        yield parsed[0], stored
        return
    for consumer in read.output.consumers():
        if consumer.type == "Assign" and consumer.get_attr("validate_shape"):
            yield consumer.inputs[0].partial_shape, stored
        elif consumer.type == "Identity":
            for assign in consumer.outputs[0].consumers():
                if assign.type == "AssignVariableOp":
                    yield assign.inputs[0]._handle_shape, stored


def restored_variables(read: Read) -> Iterator[Operation]:
    """The variables that are given a tensor that is read."""
    pending = [read.output]
    seen: set[Tensor] = set()
    while pending:
        tensor = pending.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        for consumer in tensor.consumers():
            if consumer.type in ("Assign", "AssignVariableOp"):
                yield consumer.inputs[0].op
            elif consumer.type in ("Identity", "Reshape"):
                pending.append(consumer.outputs[0])


def names_in_checkpoint(reads: Sequence[Read], reader: CheckpointReader) -> list[Read]:
    """What a restore reads, by the keys of a checkpoint that TensorFlow 2 wrote.

    Raises:
        TensorNotFound: Of a variable, that checkpoint knows neither a key nor the name.
    """
    if all(reader.has_tensor(read.name) for read in reads):
        return list(reads)
    keys = keys_by_name(reader)
    if keys is None:
        return list(reads)
    missing = [read.name for read in reads if read.name not in keys]
    if missing:
        written = sorted(keys.keys() - {read.name for read in reads})
        raise errors.TensorNotFound(
            f"Existing variables not in the checkpoint: {', '.join(missing)}\n\n"
            f"Variables names when this checkpoint was written which don't exist now: "
            f"{', '.join(written)}\n\n({len(reads) - len(missing)} variable name(s) did match)\n\n"
            f"The checkpoint is object-based (written by tf.train.Checkpoint or Keras). Save and "
            f"restore only variables that it has, under their names there: "
            f"Saver({{name_there: variable}})."
        )
    return [Read(keys[read.name], read.slice_spec, read.output) for read in reads]


def read_all(reads: Sequence[Read], reader: CheckpointReader) -> dict[Tensor, Any]:
    """The values that a restore would read."""
    return {read.output: read_stored(reader, read.name, read.slice_spec) for read in reads}


def read_stored(reader: CheckpointReader, name: str, slice_spec: str) -> Any:
    """A tensor, or the part of it that a slice names."""
    part = parse_slice_spec(slice_spec)
    return reader.get_tensor(name) if part is None else reader.get_slice(name, part[1])
