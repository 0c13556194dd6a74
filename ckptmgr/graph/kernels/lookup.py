"""Tables from keys to values: those that are filled once, often from a file, and mutable ones.

Source: tensorflow/core/kernels/lookup_table_op.cc, lookup_util.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from ckptmgr import arguments, errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, kernel, stateful_kernel
from ckptmgr.graph.kernels.variables import container

#: What `key_index` and `value_index` mean instead of a column.
_LINE_NUMBER = -1
_WHOLE_LINE = -2


class Table:
    """Keys, numbers or bytes, and their values, arrays of one shape.

    Args:
        name: For messages.
        is_mutable: Whether it may be changed once it has entries.
    """

    def __init__(
        self,
        name: str,
        key_dtype: int,
        value_dtype: int,
        value_shape: tuple[int, ...],
        *,
        is_mutable: bool,
    ) -> None:
        self.name = name
        self.key_dtype = dtypes.to_numpy(key_dtype)
        self.value_dtype = dtypes.to_numpy(value_dtype)
        self.value_shape = value_shape
        self.is_mutable = is_mutable
        self._entries: dict[Any, Any] | None = {} if is_mutable else None

    @property
    def entries(self) -> dict[Any, Any]:
        """By key, plain numbers or bytes; values are these, too, unless they have dimensions."""
        if self._entries is None:
            raise errors.UninitializedVariable(f"Table not initialized: {self.name}")
        return self._entries

    def initialize(self, entries: dict[Any, Any]) -> None:
        """Fill it, once; again only with the same."""
        if self._entries is not None and self._entries != entries:
            raise errors.InvalidArgument(
                f"Table {self.name} was already initialized with different data."
            )
        self._entries = entries

    def replace(self, entries: dict[Any, Any]) -> None:
        """Have these entries only; of one that is filled once, fill it."""
        if self.is_mutable:
            self._entries = entries
        else:
            self.initialize(entries)

    def _require_mutable(self) -> None:
        if not self.is_mutable:
            raise errors.InvalidArgument(f"table {self.name} cannot be changed")

    def pairs(self, keys: Array, values: Array) -> dict[Any, Any]:
        """Entries of arrays of keys and values."""
        if keys.dtype != self.key_dtype or values.dtype != self.value_dtype:
            raise errors.InvalidArgument(
                f"table {self.name} has keys of {self.key_dtype} and values of {self.value_dtype}, "
                f"got {keys.dtype} and {values.dtype}"
            )
        if values.shape != keys.shape + self.value_shape:
            raise errors.InvalidArgument(
                f"the values of keys of shape {list(keys.shape)} must have shape "
                f"{[*keys.shape, *self.value_shape]}, got {list(values.shape)}"
            )
        if not self.value_shape:
            return dict(zip(_plain(keys), _plain(values), strict=True))
        # A copy: the user may get, and change, the array that they were given in.
        rows = np.array(values).reshape(keys.size, *self.value_shape)
        return dict(zip(_plain(keys), rows, strict=True))

    def insert(self, entries: dict[Any, Any]) -> None:
        self._require_mutable()
        self._entries = self.entries | entries

    def remove(self, keys: Array) -> None:
        self._require_mutable()
        gone = frozenset(_plain(keys))
        self._entries = {key: value for key, value in self.entries.items() if key not in gone}

    def values_of(self, found: list[Any], shape: tuple[int, ...]) -> Array:
        """Some of its values as an array."""
        result = np.empty((len(found), *self.value_shape), self.value_dtype)
        if found:
            result[...] = found if self.value_shape else _column(found, self.value_dtype)
        return result.reshape(shape + self.value_shape)

    def keys_as_array(self) -> Array:
        return _column(list(self.entries), self.key_dtype)


def _plain(values: Array) -> list[Any]:
    found: list[Any] = values.reshape(-1).tolist()
    return found


def _column(values: list[Any], dtype: np.dtype[Any]) -> Array:
    column = np.empty(len(values), dtype)
    column[:] = values
    return column


# --------------------------------------------------------------------------- tables


@stateful_kernel("HashTable", "HashTableV2")
def hash_table(context: KernelContext, node: KernelNode) -> Table:
    return _table(context, node, (), is_mutable=False)


@stateful_kernel("MutableHashTable", "MutableHashTableV2")
def mutable_hash_table(context: KernelContext, node: KernelNode) -> Table:
    return _table(context, node, (), is_mutable=True)


@stateful_kernel("MutableHashTableOfTensors", "MutableHashTableOfTensorsV2")
def mutable_hash_table_of_tensors(context: KernelContext, node: KernelNode) -> Table:
    return _table(context, node, _value_shape(node), is_mutable=True)


@stateful_kernel("MutableDenseHashTable", "MutableDenseHashTableV2")
def dense_hash_table(
    context: KernelContext, node: KernelNode, empty_key: Array, *deleted_key: Array
) -> Table:
    """Here no key is special."""
    return _table(context, node, _value_shape(node), is_mutable=True)


@stateful_kernel("AnonymousHashTable")
def anonymous_hash_table(context: KernelContext, node: KernelNode) -> Table:
    return _new_table(node, (), is_mutable=False)


@stateful_kernel("AnonymousMutableHashTable")
def anonymous_mutable_hash_table(context: KernelContext, node: KernelNode) -> Table:
    return _new_table(node, (), is_mutable=True)


def _value_shape(node: KernelNode) -> tuple[int, ...]:
    shape = node.attr("value_shape")
    if shape is None or None in shape:
        raise errors.InvalidArgument(f"the shape of a table's values must be known, got {shape}")
    return shape


def _table(
    context: KernelContext, node: KernelNode, value_shape: tuple[int, ...], *, is_mutable: bool
) -> Table:
    # Without a shared name a table belongs to its operation alone.
    name = node.attr("shared_name").decode("utf-8", "surrogateescape")
    table = context.state.resource(
        "table",
        container(node),
        name or node.name,
        lambda: _new_table(node, value_shape, is_mutable=is_mutable),
    )
    wanted = dtypes.to_numpy(node.attr("key_dtype")), dtypes.to_numpy(node.attr("value_dtype"))
    if (table.key_dtype, table.value_dtype) != wanted:
        raise errors.InvalidArgument(
            f"Conflicting key/value dtypes {wanted[0]}->{wanted[1]} with "
            f"{table.key_dtype}-{table.value_dtype} for table {table.name}"
        )
    return table


def _new_table(node: KernelNode, value_shape: tuple[int, ...], *, is_mutable: bool) -> Table:
    return Table(
        node.name,
        node.attr("key_dtype"),
        node.attr("value_dtype"),
        value_shape,
        is_mutable=is_mutable,
    )


def _checked(table: Any) -> Table:
    if not isinstance(table, Table):
        raise errors.InvalidArgument(
            f"the handle must be one of a table, found {type(table).__name__}"
        )
    return table


# --------------------------------------------------------------------------- filling


@kernel("InitializeTable", "InitializeTableV2")
def initialize(node: KernelNode, table: Table, keys: Array, values: Array) -> tuple[()]:
    pairs = zip(_plain(keys), _plain(values), strict=False)
    _checked(table).pairs(keys, values)
    table.initialize(_without_conflicts(pairs))
    return ()


@stateful_kernel("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
def initialize_from_file(
    context: KernelContext, node: KernelNode, table: Table, filename: Array
) -> tuple[()]:
    path = arguments.path_text(filename.item().decode("utf-8", "surrogateescape"))
    context.check_path(node, path, writes=False)
    with closing(context.storage.open(path)) as file:
        data = file.read(0, file.size_bytes)
    lines = data.replace(b"\r", b"").split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines = lines[max(node.attr("offset"), 0) :]
    size = node.attr("vocab_size")
    if size != -1:
        if len(lines) < size:
            raise errors.InvalidArgument(
                f"Invalid vocab_size in {path}: expected {size} but got {len(lines)}"
            )
        lines = lines[:size]
    table.initialize(_without_conflicts(_parsed(node, _checked(table), lines, path)))
    return ()


def _parsed(
    node: KernelNode, table: Table, lines: list[bytes], path: str
) -> Iterator[tuple[Any, Any]]:
    delimiter = node.attr("delimiter")
    key_column, value_column = node.attr("key_index"), node.attr("value_index")
    for number, line in enumerate(lines):
        if not line:
            raise errors.InvalidArgument(
                f"Invalid content in {path}: empty line found at position {number}."
            )
        parts = line.split(delimiter) if max(key_column, value_column) >= 0 else []
        key = _field(number, line, parts, key_column, table.key_dtype, path)
        yield key, _field(number, line, parts, value_column, table.value_dtype, path)


def _field(
    number: int, line: bytes, parts: list[bytes], column: int, dtype: np.dtype[Any], path: str
) -> Any:
    if column == _LINE_NUMBER:
        return number
    if column == _WHOLE_LINE:
        text = line
    elif 0 <= column < len(parts):
        text = parts[column]
    else:
        raise errors.InvalidArgument(
            f"Invalid number of columns in {path} line {number} ({_shown(line)}): expected at "
            f"least {column + 1} got {len(parts)}"
        )
    if dtype.hasobject:
        return text
    try:
        return int(text) if dtype.kind in "iu" else float(text)
    except ValueError:
        raise errors.InvalidArgument(
            f"Field {text.decode('utf-8', 'replace')} in line {number} is not a valid {dtype.name}."
        ) from None


def _without_conflicts(pairs: Iterator[tuple[Any, Any]]) -> dict[Any, Any]:
    entries: dict[Any, Any] = {}
    for key, value in pairs:
        if entries.setdefault(key, value) != value:
            raise errors.InvalidArgument(
                f"HashTable has different value for same key. Key {_shown(key)} has "
                f"{_shown(entries[key])} and trying to add value {_shown(value)}"
            )
    return entries


def _shown(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# --------------------------------------------------------------------------- use


@kernel("LookupTableFind", "LookupTableFindV2")
def find(node: KernelNode, table: Table, keys: Array, default_value: Array) -> Array:
    entries = _checked(table).entries
    if table.key_dtype != keys.dtype:
        raise errors.InvalidArgument(
            f"table {table.name} has keys of {table.key_dtype}, got {keys.dtype}"
        )
    if not table.value_shape:
        default = default_value.reshape(-1).tolist()
        if len(default) == keys.size != 1:
            found = [
                entries.get(key, other) for key, other in zip(_plain(keys), default, strict=True)
            ]
        else:
            found = [entries.get(key, default[0]) for key in _plain(keys)]
        return table.values_of(found, keys.shape)
    # A table of vectors may be asked with keys whose own rows are no part of the values' shape.
    rows = np.broadcast_to(default_value, (keys.size, *table.value_shape))
    found = [entries.get(key, row) for key, row in zip(_plain(keys), rows, strict=True)]
    return table.values_of(found, keys.shape)


@kernel("LookupTableSize", "LookupTableSizeV2")
def size(node: KernelNode, table: Table) -> Array:
    return np.array(len(_checked(table).entries), np.int64)


@kernel("LookupTableInsert", "LookupTableInsertV2")
def insert(node: KernelNode, table: Table, keys: Array, values: Array) -> tuple[()]:
    table.insert(_checked(table).pairs(keys, values))
    return ()


@kernel("LookupTableRemoveV2")
def remove(node: KernelNode, table: Table, keys: Array) -> tuple[()]:
    _checked(table).remove(keys)
    return ()


@kernel("LookupTableImport", "LookupTableImportV2")
def import_entries(node: KernelNode, table: Table, keys: Array, values: Array) -> tuple[()]:
    table.replace(_checked(table).pairs(keys, values))
    return ()


@kernel("LookupTableExport", "LookupTableExportV2")
def export_entries(node: KernelNode, table: Table) -> tuple[Array, Array]:
    entries = _checked(table).entries
    return table.keys_as_array(), table.values_of(list(entries.values()), (len(entries),))
