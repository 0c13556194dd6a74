"""Variables that are parts of one tensor, and how a tensor is divided into them.

Each part `p/part_0`, `p/part_1`... is a variable of its own; they are saved as slices of `p`.

Source: tensorflow/python/ops/variables.py (PartitionedVariable), partitioned_variables.py.
"""

# ruff: noqa: ARG002 - what all variables take

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ckptmgr import arguments, errors
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.grouping import group
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.tensor_shape import TensorShape
from ckptmgr.graph.variables import Variable

#: Given shape and dtype, says into how many parts each dimension is divided; all but one into 1.
Partitioner = Callable[..., Sequence[int]]


class PartitionedVariable:
    """The parts of one tensor, in their order along one dimension.

    Args:
        partitions: How many parts there are along each dimension.
    """

    def __init__(
        self,
        name: str,
        shape: Any,
        dtype: Any,
        variable_list: Sequence[Variable],
        partitions: Sequence[int],
    ) -> None:
        parts = list(variable_list)
        sizes = TensorShape(shape).as_list()
        if not parts:
            raise errors.GraphError(f"partitioned variable {name!r} must have a part")
        if len(partitions) != len(sizes) or math.prod(partitions) != len(parts):
            raise errors.GraphError(
                f"partitioned variable {name!r} of shape {sizes} and {len(parts)} parts cannot be "
                f"divided as {list(partitions)}"
            )
        self._name = name
        self._shape = TensorShape(shape)
        self._dtype = as_dtype(dtype)
        self._parts = sorted(parts, key=_offset)
        self._partitions = list(partitions)
        self._as_whole: Tensor | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtype(self) -> DType:
        return self._dtype

    @property
    def shape(self) -> TensorShape:
        return self._shape

    def get_shape(self) -> TensorShape:
        return self._shape

    @property
    def graph(self) -> Graph:
        return self._parts[0].graph

    @property
    def initializer(self) -> Any:
        """What gives every part its initial value."""
        return group(self.graph, [part.initializer for part in self._parts], "init")

    def _get_variable_list(self) -> list[Variable]:
        return self._parts

    def _get_partitions(self) -> list[int]:
        return self._partitions

    def as_tensor(self) -> Tensor:
        """The whole tensor."""
        graph = self.graph
        # Whoever asks may stand anywhere; the name in collections must lead here.
        with graph.control_dependencies(None):
            axes = [axis for axis, count in enumerate(self._partitions) if count > 1]
            whole: Tensor | None = None
            if axes:
                with graph.name_scope(f"{self._name}/ConcatPartitions/"):
                    whole = _concatenated(graph, self._parts, axes[0])
            with graph.name_scope(None), graph.name_scope(self._name) as scope:
                value = self._parts[0].value() if whole is None else whole
                return create_op(graph, "Identity", [value], name=scope).outputs[0]

    def _as_tensor(
        self, dtype: Any = None, name: str | None = None, as_ref: bool = False
    ) -> Tensor:
        if as_ref:
            raise errors.GraphTypeError(
                f"PartitionedVariable {self._name!r} cannot be used as a reference"
            )
        return self.as_tensor()

    def _as_graph_element(self) -> Tensor:
        """The whole tensor, made once."""
        if self._as_whole is None:
            self._as_whole = self.as_tensor()
        return self._as_whole

    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> list[Any]:
        """What gives each part its share of another value: whole, or a list of shares."""
        shares = value if isinstance(value, list | tuple) else _split(self, value)
        return [
            part.assign(share, use_locking, name, read_value)
            for part, share in zip(self._parts, shares, strict=True)
        ]

    def __iter__(self) -> Iterator[Variable]:
        """The parts, in order."""
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return (
            f"<PartitionedVariable {self._name!r} shape={self._shape} dtype={self._dtype.name} "
            f"partitions={self._partitions}>"
        )

    __array_priority__ = 100


def _offset(part: Variable) -> list[int]:
    info = part._get_save_slice_info()
    if info is None:
        raise errors.GraphError(f"variable {part.name!r} is no part of a partitioned one")
    return info.var_offset


def _concatenated(graph: Graph, parts: list[Variable], axis: int) -> Tensor:
    with graph.name_scope("concat") as scope:
        values = [part.value() for part in parts]
        along = constant(graph, axis, name="axis")
        return create_op(graph, "ConcatV2", [values, along], name=scope).outputs[0]


def _split(variable: PartitionedVariable, value: Any) -> list[Any]:
    """The shares of a value that is given as an array or a list of numbers."""
    import numpy as np

    if isinstance(value, Tensor):
        raise errors.GraphTypeError(
            "a partitioned variable is given a list of one tensor per part, or an array"
        )
    whole = np.asarray(value)
    shares: list[Any] = []
    for part in variable:
        info = part._get_save_slice_info()
        assert info is not None
        region = zip(info.var_offset, info.var_shape, strict=True)
        shares.append(whole[tuple(slice(start, start + size) for start, size in region)])
    return shares


# --------------------------------------------------------------------------- how to divide


def slices(
    shape: Iterable[int], partitions: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Where each part begins, and its shape; the first ones are larger by one where need be.

    Raises:
        GraphError: More than one dimension is divided, or into more parts than it has elements.
    """
    sizes = list(shape)
    divided = [axis for axis, count in enumerate(partitions) if count > 1]
    if len(partitions) != len(sizes) or any(count < 1 for count in partitions):
        raise errors.GraphError(
            f"Partitioner returned a partition list that does not match the Variable's rank: "
            f"{list(partitions)} vs. {sizes}"
        )
    if len(divided) > 1:
        raise errors.GraphError(
            f"Can only slice a variable along one dimension: shape: {sizes}, partitioning: "
            f"{list(partitions)}"
        )
    axis = divided[0] if divided else 0
    count = partitions[axis]
    if count > max(sizes[axis], 1):
        raise errors.GraphError(
            f"dimension {axis} of shape {sizes} cannot be divided into {count} parts"
        )
    smallest, excess = divmod(sizes[axis], count)
    offset = [0] * len(sizes)
    for index in range(count):
        part = list(sizes)
        part[axis] = smallest + (index < excess)
        yield list(offset), part
        offset[axis] += part[axis]


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """Divide one dimension into a number of parts, or as many as it has elements."""

    def partitioner(shape: Any, **_: Any) -> list[int]:
        sizes = TensorShape(shape).as_list()
        partitions = [1] * len(sizes)
        partitions[axis] = min(num_shards, sizes[axis] or num_shards)
        return partitions

    return partitioner


def variable_axis_size_partitioner(
    max_shard_bytes: int,
    axis: int = 0,
    bytes_per_string_element: int = 16,
    max_shards: int | None = None,
) -> Partitioner:
    """Divide one dimension so that no part is larger than so many bytes."""
    arguments.whole_number("max_shard_bytes", max_shard_bytes)
    arguments.whole_number("bytes_per_string_element", bytes_per_string_element)
    if max_shards is not None:
        arguments.whole_number("max_shards", max_shards)

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        sizes = _known_sizes(shape)
        element_bytes = _element_bytes(dtype, bytes_per_string_element)
        partitions = [1] * len(sizes)
        if not math.prod(sizes):
            return partitions
        row_bytes = math.prod(sizes) // sizes[axis] * element_bytes
        if max_shards is not None and max_shard_bytes * max_shards < row_bytes * sizes[axis]:
            partitions[axis] = max_shards
        else:
            rows = max(1, max_shard_bytes // row_bytes)
            partitions[axis] = math.ceil(sizes[axis] / rows)
        partitions[axis] = min(partitions[axis], sizes[axis])
        return partitions

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1,
    axis: int = 0,
    min_slice_size: int = 256 << 10,
    bytes_per_string_element: int = 16,
) -> Partitioner:
    """Divide one dimension into parts of about so many bytes, up to a number of them."""

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        sizes = _known_sizes(shape)
        partitions = [1] * len(sizes)
        all_bytes = math.prod(sizes) * _element_bytes(dtype, bytes_per_string_element)
        wanted = math.ceil(all_bytes / min_slice_size)
        partitions[axis] = max(1, min(sizes[axis], max_partitions, wanted))
        return partitions

    return partitioner


def _known_sizes(shape: Any) -> list[int]:
    sizes = TensorShape(shape).as_list()
    if None in sizes:
        raise errors.GraphError(f"shape must be fully defined, found {TensorShape(shape)}")
    return [size for size in sizes if size is not None]


def _element_bytes(dtype: Any, bytes_per_string_element: int) -> int:
    kind = as_dtype(dtype)
    return bytes_per_string_element if kind == "string" else kind.size
