"""Which paths a tensor can hold in a run, told without running anything.

The path of a saver's operations is made of constants, of what is fed, and of few types of
operations, also where these are in functions. For each tensor the strings are found that any of its
elements could be; where a condition chooses between two tensors, those of both. So more may be
found than there will be, never less. Of all other types of operations nothing is said, though some
could be computed here: what is found has to be what TensorFlow will compute, in every case.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ckptmgr.graph.bodies import Node, Port

#: The strings, or the numbers of shards, among which all elements of a tensor are. None where that
#: cannot be told.
Values: TypeAlias = "frozenset[Any] | None"

# How far is looked back, and how much is kept, so that no graph can exhaust stack, memory or time.
# The path of a saver is about ten operations deep, and some kilobytes where there are many shards.
_MAX_DEPTH = 50
_MAX_BYTES = 1 << 24
#: What an element of a set takes, beside its text.
_ELEMENT_BYTES = 64

#: What gives its inputs on, or one of them: which.
_HANDED_ON: dict[str, slice] = {
    "Identity": slice(None),
    "Pack": slice(None),
    "PlaceholderWithDefault": slice(None),
    "Select": slice(1, None),
    "SelectV2": slice(1, None),
}
_COMPUTED = frozenset({"ShardedFilename", "StringJoin"})


class PathValues:
    """What the tensors of one run can hold.

    Args:
        feeds: What is fed to tensors of the graph.
        given: For each argument of a function, what its callers give for it; None where not all of
            them are known.
    """

    def __init__(
        self, feeds: Mapping[Port, Any], given: Mapping[Port, Sequence[Port] | None]
    ) -> None:
        self._given = given
        self._bytes_left = _MAX_BYTES
        self._known: dict[Port, Values] = {
            port: self._elements(value) for port, value in feeds.items()
        }

    def of(self, port: Port, depth: int = 0) -> Values:
        """The values of the elements of a tensor.

        Raises:
            GraphError: A function is not sound, or has operations of a type that is not known.
        """
        if port not in self._known:
            self._known[port] = None  # for whatever leads to itself
            if depth < _MAX_DEPTH:
                self._known[port] = self._found(port, depth + 1)
        return self._known[port]

    def _found(self, port: Port, depth: int) -> Values:
        node, _ = port
        if port in self._given:
            given = self._given[port]
            return None if given is None else self._union(given, depth)
        if node.op == "Const":
            return self._elements(node.attr("value"))
        if node.op == "Placeholder":
            return frozenset()  # without a value nothing runs that needs it
        if node.op in _HANDED_ON:
            return self._union(node.inputs[_HANDED_ON[node.op]], depth)
        return self._combined(node, depth) if node.op in _COMPUTED else None

    def _union(self, ports: Iterable[Port], depth: int) -> Values:
        found: set[Any] = set()
        for port in ports:
            values = self.of(port, depth)
            if values is None or not self._affords(len(values) * _ELEMENT_BYTES):
                return None
            found |= values
        return frozenset(found)

    def _combined(self, node: Node, depth: int) -> Values:
        inputs: list[frozenset[Any]] = []
        for port in node.inputs:
            values = self.of(port, depth)
            if values is None:
                return None
            inputs.append(values)
        is_joined = node.op == "StringJoin"
        texts, numbers = (inputs, []) if is_joined else (inputs[:1], inputs[1:])
        if not (_are_all(bytes, texts) and _are_all(int, numbers)):
            return None
        separator: bytes = node.attr("separator") if is_joined else b""
        longest = sum(max(map(len, values), default=0) + len(separator) for values in texts)
        if not self._affords(math.prod(map(len, inputs)) * (longest + _ELEMENT_BYTES)):
            return None
        combinations = itertools.product(*inputs)
        if is_joined:
            return frozenset(separator.join(parts) for parts in combinations)
        return frozenset(b"%b-%05d-of-%05d" % parts for parts in combinations)

    def _elements(self, value: Any) -> Values:
        if not isinstance(value, np.ndarray) or not self._affords(value.size * _ELEMENT_BYTES):
            return None
        elements = frozenset(value.reshape(-1).tolist())
        return elements if all(type(item) in (bytes, int) for item in elements) else None

    def _affords(self, num_bytes: int) -> bool:
        self._bytes_left -= num_bytes
        return self._bytes_left >= 0


def _are_all(kind: type, several: Iterable[frozenset[Any]]) -> bool:
    return all(isinstance(value, kind) for values in several for value in values)
