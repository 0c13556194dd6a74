"""`tf.lookup`: tables in the graph, from lists or from a file with one entry per line.

Source: tensorflow/python/ops/lookup_ops.py.
"""

from __future__ import annotations

import uuid
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.conversion import apply, convert_to_tensor, is_symbolic, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor


class TextFileIndex:
    """What of a file is a key or a value, where it is no column."""

    WHOLE_LINE = -2
    LINE_NUMBER = -1


class TableInitializer:
    """What fills a table."""

    #: Tables of one graph and this name are one; a new name where it is empty.
    shared_name = ""

    def __init__(self, key_dtype: Any, value_dtype: Any) -> None:
        self.key_dtype: DType = as_dtype(key_dtype).base_dtype
        self.value_dtype: DType = as_dtype(value_dtype).base_dtype

    def initialize(self, table: StaticHashTable) -> Operation:
        raise TypeError(f"{type(self).__name__} does not fill {table.name}")


class KeyValueTensorInitializer(TableInitializer):
    """Keys and values from two tensors or lists."""

    def __init__(
        self,
        keys: Any,
        values: Any,
        key_dtype: Any = None,
        value_dtype: Any = None,
        name: str | None = None,
    ) -> None:
        self._keys = convert_to_tensor(keys, key_dtype, "keys")
        self._values = convert_to_tensor(values, value_dtype, "values")
        self._name = name or "key_value_init"
        super().__init__(self._keys.dtype, self._values.dtype)

    def initialize(self, table: StaticHashTable) -> Operation:
        with get_default_graph().name_scope(self._name):
            handle = table.resource_handle
            return apply("LookupTableImportV2", [handle, self._keys, self._values])


class TextFileInitializer(TableInitializer):
    """Keys and values from a text file.

    Args:
        key_index: A column, or one of `TextFileIndex`.
        vocab_size: How many lines are read; all where it is None.
    """

    def __init__(
        self,
        filename: Any,
        key_dtype: Any,
        key_index: int,
        value_dtype: Any,
        value_index: int,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str | None = None,
        value_index_offset: int = 0,
    ) -> None:
        super().__init__(key_dtype, value_dtype)
        with get_default_graph().device("CPU"):
            self._path = convert_to_tensor(filename, DataType.DT_STRING, "asset_path")
        self._attrs = {
            "key_index": key_index,
            "value_index": value_index,
            "vocab_size": -1 if vocab_size is None else vocab_size,
            "delimiter": delimiter,
            "offset": value_index_offset,
        }
        size = "" if vocab_size is None else f"{vocab_size}_"
        self.shared_name = f"hash_table_{filename}_{size}{key_index}_{value_index}"
        self._name = name or "text_file_init"

    def initialize(self, table: StaticHashTable) -> Operation:
        graph = get_default_graph()
        with graph.name_scope(self._name):
            inputs = [table.resource_handle, self._path]
            filled = apply("InitializeTableFromTextFileV2", inputs, self._attrs)
        if self._path.op.type == "Const":
            # A SavedModel takes the file along.
            graph.add_to_collection(GraphKeys.ASSET_FILEPATHS, self._path)
        return filled


class StaticHashTable:
    """A table that is filled once, by `tables_initializer()` or its own `initializer`."""

    def __init__(
        self, initializer: TableInitializer, default_value: Any, name: str | None = None
    ) -> None:
        self.key_dtype, self.value_dtype = initializer.key_dtype, initializer.value_dtype
        self.default_value = convert_to_tensor(default_value, self.value_dtype)
        attrs = {
            "shared_name": initializer.shared_name or f"hash_table_{uuid.uuid4()}",
            "key_dtype": self.key_dtype,
            "value_dtype": self.value_dtype,
        }
        self.resource_handle = tensor("HashTableV2", (), attrs, name or "hash_table")
        self.name = self.resource_handle.op.name.rpartition("/")[2]
        self.initializer = initializer.initialize(self)
        get_default_graph().add_to_collection(GraphKeys.TABLE_INITIALIZERS, self.initializer)

    @property
    def init(self) -> Operation:
        return self.initializer

    def lookup(self, keys: Any, name: str | None = None) -> Tensor:
        """The values of keys; the default for those that are not there."""
        if is_symbolic(keys) and keys.dtype.base_dtype != self.key_dtype:
            raise errors.GraphTypeError(
                f"Dtype of argument `keys` must be {self.key_dtype}, received: {keys.dtype}"
            )
        with get_default_graph().name_scope(name or f"{self.name}_Lookup"):
            found = convert_to_tensor(keys, self.key_dtype)
            inputs = [self.resource_handle, found, self.default_value]
            values = tensor("LookupTableFindV2", inputs)
        values.set_shape(found.shape)
        return values

    def __getitem__(self, keys: Any) -> Tensor:
        return self.lookup(keys)

    def size(self, name: str | None = None) -> Tensor:
        with get_default_graph().name_scope(name or f"{self.name}_Size"):
            return tensor("LookupTableSizeV2", [self.resource_handle])


def index_table_from_file(
    vocabulary_file: Any,
    num_oov_buckets: int = 0,
    vocab_size: int | None = None,
    default_value: int = -1,
    key_dtype: Any = DataType.DT_STRING,
    name: str | None = None,
) -> StaticHashTable:
    """A table from each line of a file to its number."""
    if num_oov_buckets:
        raise errors.GraphError("tables here have no buckets for keys that are not in the file")
    with get_default_graph().name_scope(name or "string_to_index"):
        initializer = TextFileInitializer(
            vocabulary_file,
            key_dtype,
            TextFileIndex.WHOLE_LINE,
            DataType.DT_INT64,
            TextFileIndex.LINE_NUMBER,
            vocab_size,
        )
        return StaticHashTable(initializer, default_value)
