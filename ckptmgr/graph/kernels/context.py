"""What a stateful kernel may ask of the run that it is part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptmgr import errors
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.graph.attributes import FunctionName
from ckptmgr.graph.kernels.registry import KernelNode
from ckptmgr.graph.state import SessionState
from ckptmgr.storage import Storage

#: How deep functions may call each other. Models nest a few; Python's own stack ends near this.
MAX_CALL_DEPTH = 64


@dataclass(slots=True)
class RunState:
    """What lives as long as one run."""

    #: The strings that were fed.
    fed: frozenset[str] = frozenset()
    #: Tensor arrays and temporary variables by name.
    resources: dict[Any, Any] = field(default_factory=dict)
    #: Shards of checkpoints that were saved under names that are to be merged, by prefix.
    unmerged: dict[str, list[NamedTensor]] = field(default_factory=dict)
    #: What is left to do once everything was computed.
    at_end: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KernelContext:
    state: SessionState
    run: RunState
    #: Calls a function of the library at a depth.
    _call: Callable[[FunctionName, Sequence[Any], KernelContext], list[Any]]
    depth: int = 0

    @property
    def storage(self) -> Storage:
        return self.state.storage

    def call(self, function: FunctionName, inputs: Sequence[Any]) -> list[Any]:
        """The outputs of a function of the graph's library.

        Raises:
            InvalidArgument: Functions call each other too deep.
        """
        if self.depth >= MAX_CALL_DEPTH:
            raise errors.InvalidArgument(
                f"function {function.name!r} would be the call number {self.depth + 1} within each "
                f"other; at most {MAX_CALL_DEPTH} are possible"
            )
        inner = KernelContext(self.state, self.run, self._call, self.depth + 1)
        return self._call(function, inputs, inner)

    def check_path(self, node: KernelNode, path: str, *, writes: bool) -> None:
        """Raise OpRefused unless the operation may touch a path; see `policy`."""
        if not getattr(node, "is_own", False):
            self.state.policy.check_path(node.op, node.name, path, fed=self.run.fed, writes=writes)
