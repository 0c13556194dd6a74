"""Which operations a new one has to wait for, because it is made within `control_dependencies`.

A new operation does not wait for what its inputs wait for already: if one of them was made within
the same block, the block adds nothing.

Source: tensorflow/python/framework/ops.py (Graph._control_dependencies_for_inputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr.graph.operation import Operation


class _Block:
    def __init__(self, control_inputs: list[Operation]) -> None:
        self.control_inputs = control_inputs
        self.members: set[Operation] = set()


class ControlDependencies:
    """The blocks that are entered, innermost last."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    @contextmanager
    def enter(self, control_inputs: Sequence[Operation] | None) -> Iterator[None]:
        """Let new operations wait for these; None forgets all outer blocks meanwhile."""
        outer = self._blocks
        if control_inputs is None:
            self._blocks = []
        else:
            known = {op for block in outer for op in block.control_inputs}
            fresh = [op for op in dict.fromkeys(control_inputs) if op not in known]
            for op in fresh:
                # TensorFlow marks what a user waits for, and so each of its graphs has this.
                op._set_attr("_has_manual_control_dependencies", AttrValue(b=True))
            self._blocks = [*outer, _Block(fresh)]
        try:
            yield
        finally:
            self._blocks = outer

    def of_new(self, inputs: Sequence[Operation]) -> list[Operation]:
        """What an operation with these inputs has to wait for beyond them."""
        sources = set(inputs)
        return list(
            dict.fromkeys(
                op
                for block in self._blocks
                if not sources & block.members
                for op in block.control_inputs
                if op not in sources
            )
        )

    def note(self, op: Operation) -> None:
        """Remember that an operation was made within the blocks."""
        for block in self._blocks:
            block.members.add(op)
