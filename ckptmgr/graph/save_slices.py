"""Which part of a whole tensor a variable is, as its message and as a save's text.

Source: tensorflow/python/ops/variables.py (Variable.SaveSliceInfo),
tensorflow/core/framework/variable.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr._proto.variable_pb2 import SaveSliceInfoDef
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, format_slice_spec
from ckptmgr.graph.scoped_names import into_scope, out_of_scope


class SaveSliceInfo:
    """A part of the tensor `full_name`, which is saved under that name."""

    def __init__(
        self,
        full_name: str,
        full_shape: Sequence[int],
        var_offset: Sequence[int],
        var_shape: Sequence[int],
    ) -> None:
        if not len(full_shape) == len(var_offset) == len(var_shape):
            raise errors.GraphError(
                f"a part of {full_name!r} must have as many offsets and sizes as the whole, "
                f"found {list(full_shape)}, {list(var_offset)} and {list(var_shape)}"
            )
        self.full_name = full_name
        self.full_shape = list(full_shape)
        self.var_offset = list(var_offset)
        self.var_shape = list(var_shape)

    @property
    def spec(self) -> str:
        """As a save takes it: "10 4 0,3:0,4", the whole's shape and each dimension's range."""
        extents = tuple(map(Extent, self.var_offset, self.var_shape))
        return format_slice_spec(tuple(self.full_shape), TensorSlice(extents))

    def to_proto(self, export_scope: str | None = None) -> SaveSliceInfoDef:
        return SaveSliceInfoDef(
            full_name=out_of_scope(self.full_name, export_scope),
            full_shape=self.full_shape,
            var_offset=self.var_offset,
            var_shape=self.var_shape,
        )

    @staticmethod
    def from_proto(message: SaveSliceInfoDef, import_scope: str | None = None) -> SaveSliceInfo:
        name = into_scope(message.full_name, import_scope)
        return SaveSliceInfo(name, message.full_shape, message.var_offset, message.var_shape)
