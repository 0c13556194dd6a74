"""Operations and the tensors that they give.

An operation keeps its NodeDef without the inputs, which are tensors here and become names again
when it is exported. Attributes are decoded when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.full_type_pb2 import FullTypeId
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import tensor_shape
from ckptmgr.graph.attributes import decode_attr, encode_free_attr
from ckptmgr.graph.devices import DeviceSpec
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.tensor_shape import Shape, TensorShape

if TYPE_CHECKING:
    from ckptmgr.graph.graph import Graph

_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_FULL_TYPES = {
    DataType.DT_INT32: FullTypeId.TFT_INT32,
    DataType.DT_INT64: FullTypeId.TFT_INT64,
}
_COLOCATION = b"loc:@"


def check_operation_name(name: str) -> None:
    """Raise GraphError for what TensorFlow takes for no name of an operation."""
    if not _NAME.fullmatch(name):
        raise errors.GraphError(
            f"{name!r:.200} is not a valid node name; names match {_NAME.pattern!r}"
        )


class Tensor:
    """One output of an operation."""

    __slots__ = (
        "__weakref__",
        "_consumers",
        "_data_type",
        "_handle_shape",
        "_known_values",
        "_shape",
        "op",
        "value_index",
    )

    # NumPy's operators leave an expression with a tensor to the tensor.
    __array_priority__ = 100

    def __init__(self, op: Operation, value_index: int, data_type: DataType) -> None:
        self.op = op
        self.value_index = value_index
        self._data_type = data_type
        self._shape: Shape = None
        #: What is known of the few whole numbers that it holds, flattened: sizes, axes.
        self._known_values: tuple[int | None, ...] | None = None
        #: The shape of the variable that it is a handle to.
        self._handle_shape: Shape = None
        self._consumers: list[Operation] = []

    @property
    def name(self) -> str:
        return f"{self.op.name}:{self.value_index}"

    @property
    def graph(self) -> Graph:
        return self.op.graph

    @property
    def device(self) -> str:
        return self.op.device

    @property
    def dtype(self) -> DType:
        return as_dtype(self._data_type)

    @property
    def data_type(self) -> DataType:
        """The number of its type; DT_INVALID where an unknown operation does not tell."""
        return self._data_type

    @property
    def shape(self) -> TensorShape:
        return TensorShape(self._shape)

    @property
    def partial_shape(self) -> Shape:
        """What is known of the shape, as a tuple, or None where not even the rank is."""
        return self._shape

    def get_shape(self) -> TensorShape:
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Add to what is known of the shape; raises GraphError where it contradicts that."""
        self._shape = tensor_shape.merge(self._shape, TensorShape(shape).as_tuple())

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor, each once."""
        return list(dict.fromkeys(self._consumers))

    def __repr__(self) -> str:
        return f"<tf.Tensor {self.name!r} shape={self.shape} dtype={self.dtype.name}>"

    def __str__(self) -> str:
        shape = "" if self._shape is None else f", shape={self.shape}"
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}"{shape}, dtype={self.dtype.name}{device})'

    def __bool__(self) -> NoReturn:
        raise errors.GraphTypeError(
            f"{self.name!r} is a symbol of the graph and neither true nor false; run it in a "
            f"session, and compare with `is not None` to ask whether there is one"
        )

    def __iter__(self) -> NoReturn:
        raise errors.GraphTypeError(
            f"{self.name!r} is a symbol of the graph and cannot be iterated over; run it in a "
            f"session first"
        )

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise errors.GraphTypeError(
            f"{self.name!r} is a symbol of the graph and no array; run it in a session first"
        )


class Operation:
    """A node of a graph; made by `create_op` and `import_graph_def`."""

    __slots__ = (
        "__weakref__",
        "_control_inputs",
        "_decoded",
        "_inputs",
        "_node",
        "_outputs",
        "graph",
        "op_def",
    )

    def __init__(
        self,
        graph: Graph,
        node: NodeDef,
        op_def: OpDef | None,
        output_types: Sequence[DataType],
    ) -> None:
        self.graph = graph
        #: The definition of its type; None where it is not known, and nothing can compute it.
        self.op_def = op_def
        self._node = node
        self._inputs: list[Tensor] = []
        self._control_inputs: list[Operation] = []
        self._outputs = [Tensor(self, index, dtype) for index, dtype in enumerate(output_types)]
        self._decoded: dict[str, Any] = {}
        self._infer_full_type()

    @property
    def name(self) -> str:
        return self._node.name

    @property
    def type(self) -> str:
        return self._node.op

    @property
    def device(self) -> str:
        return self._node.device

    @property
    def inputs(self) -> list[Tensor]:
        """Its inputs in order, lists flattened. The list must not be changed."""
        return self._inputs

    @property
    def control_inputs(self) -> list[Operation]:
        """What must have run before. The list must not be changed."""
        return self._control_inputs

    @property
    def outputs(self) -> list[Tensor]:
        """What it gives. The list must not be changed."""
        return self._outputs

    @property
    def node_def(self) -> NodeDef:
        """Its message, a copy."""
        node = NodeDef()
        node.CopyFrom(self._node)
        node.input.extend(self.input_names())
        return node

    def values(self) -> tuple[Tensor, ...]:
        return tuple(self._outputs)

    def input_names(self) -> Iterator[str]:
        """Its inputs as a NodeDef spells them, control inputs last and sorted."""
        for tensor in self._inputs:
            index = tensor.value_index
            yield f"{tensor.op.name}:{index}" if index else tensor.op.name
        # As TensorFlow's Graph::ToGraphDef, so that equal graphs are equal bytes.
        yield from sorted(f"^{op.name}" for op in self._control_inputs)

    # ----------------------------------------------------------------- attributes

    def get_attr(self, name: str) -> Any:
        """The value of an attribute, as the table in `attributes` says.

        Raises:
            GraphError: The operation has no such attribute.
        """
        if name not in self._decoded:
            if name not in self._node.attr:
                raise errors.GraphError(
                    f"Operation {self.name!r} has no attr named {name!r}.{self._known_attrs(name)}"
                )
            try:
                self._decoded[name] = decode_attr(self._node.attr[name])
            except errors.GraphError as error:
                raise errors.InvalidGraph(
                    f"attribute {name!r} of node {self.name!r}: {error}"
                ) from None
        return self._decoded[name]

    def has_attr(self, name: str) -> bool:
        return name in self._node.attr

    def attr_value(self, name: str) -> AttrValue:
        """The message of an attribute that it has. It must not be changed."""
        return self._node.attr[name]

    def _known_attrs(self, name: str) -> str:
        return errors.near_misses(name, self._node.attr)

    def _infer_full_type(self) -> None:
        """State the type of the outputs as TensorFlow does where its type has a special one."""
        if self.type == "Shape" and not self._node.HasField("experimental_type"):
            product = self._node.experimental_type
            product.type_id = FullTypeId.TFT_PRODUCT
            shape = product.args.add(type_id=FullTypeId.TFT_SHAPE_TENSOR)
            shape.args.add(type_id=_FULL_TYPES[self._outputs[0].data_type])

    def _set_attr(self, name: str, value: AttrValue) -> None:
        self._node.attr[name].CopyFrom(value)
        self._decoded.pop(name, None)

    def _set_device(self, device: str) -> None:
        self._node.device = DeviceSpec.from_string(device).to_string()

    def _clear_device(self) -> None:
        self._node.device = ""

    # ----------------------------------------------------------------- edges

    def _connect(self, inputs: Sequence[Tensor], control_inputs: Sequence[Operation]) -> None:
        self._inputs = list(inputs)
        self._control_inputs = list(control_inputs)
        for tensor in inputs:
            tensor._consumers.append(self)

    def _update_input(self, index: int, tensor: Tensor) -> None:
        """Take another tensor for one input, as a loop does once its body is built."""
        previous = self._inputs[index]
        previous._consumers.remove(self)
        self._inputs[index] = tensor
        tensor._consumers.append(self)

    def _add_control_input(self, op: Operation) -> None:
        if op not in self._control_inputs:
            self._control_inputs.append(op)

    # ----------------------------------------------------------------- colocation

    def colocation_groups(self) -> list[bytes]:
        """The groups that are placed together with it; its own where none is named."""
        if self.has_attr("_class"):
            named = [
                group for group in self._node.attr["_class"].list.s if group.startswith(_COLOCATION)
            ]
            if named:
                return named
        return [_COLOCATION + self.name.encode()]

    def _set_colocation_groups(self, groups: Sequence[bytes]) -> None:
        self._set_attr("_class", encode_free_attr(list(groups)))

    def colocated_with(self) -> list[str]:
        """The names of the other operations that it must be placed with."""
        names = (
            group[len(_COLOCATION) :].decode("utf-8", "replace")
            for group in self.colocation_groups()
        )
        return [name for name in names if name != self.name]

    def __repr__(self) -> str:
        return f"<tf.Operation {self.name!r} type={self.type}>"

    def __str__(self) -> str:
        return str(self.node_def)
