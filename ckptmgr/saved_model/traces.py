"""One trace of a function: tensors in, tensors out, and the tensors that it captured.

Source: tensorflow/python/saved_model/function_deserialization.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr.graph.executor import fed_strings
from ckptmgr.graph.state import released
from ckptmgr.graph.tensor_shape import Shape
from ckptmgr.saved_model.arguments import pack, to_array
from ckptmgr.saved_model.structured_values import TensorSpec, decode_structured_value

if TYPE_CHECKING:
    from ckptmgr.saved_model.model_state import ModelState


class Trace:
    """A function of the model's library, with its captures.

    Raises:
        MalformedGraph: There is none of that name, or it does not take what the model says.
    """

    def __init__(self, state: ModelState, name: str) -> None:
        saved, function = state.concrete_function(name)
        self.name = name
        self._state = state
        self._captures = list(saved.bound_inputs)
        taken = function.signature.input_arg
        count = len(taken) - len(self._captures)
        if count < 0:
            raise errors.MalformedGraph(
                f"function {name!r} captures more than it takes",
                expected=f"{len(taken)} at most",
                found=len(self._captures),
            )
        self._dtypes = [argument.type for argument in taken[:count]]
        #: What it was traced with: positional arguments and named ones, nested.
        self.arguments: Any = _decoded(saved.canonicalized_input_signature) or ((), {})
        self._result = _decoded(saved.output_signature)

    def run(self, tensors: Sequence[Any], named: frozenset[str] = frozenset()) -> Any:
        """Compute it from its tensors, in their order; the result is nested as it was.

        Args:
            named: As `run_flat` takes them.
        """
        return pack(self._result, map(_given, self.run_flat(tensors, named)))

    def run_flat(self, tensors: Sequence[Any], named: frozenset[str] = frozenset()) -> list[Any]:
        """Compute it from its tensors; the result is its tensors.

        Args:
            named: The strings among the tensors that the caller of the model gave: paths that may
                be touched. Defaults, and what a checkpoint holds, are the model's.
        """
        if len(tensors) != len(self._dtypes):
            raise errors.SignatureError(
                f"function {self.name!r} takes {len(self._dtypes)} tensors, found {len(tensors)}"
            )
        return self._state.call(self.name, tensors, self._captures, named)

    def call_flat(
        self, keywords: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Compute it from values, the first in order and the others by name.

        Args:
            keywords: What its tensors are called.
        Raises:
            SignatureError: One is missing or unknown, or no tensor of the dtype and shape wanted.
        """
        names = keywords or [f"argument {i}" for i in range(len(self._dtypes))]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        are_too_many = len(given) < len(args) + len(kwargs)
        if are_too_many or given.keys() != set(names):
            raise errors.SignatureError(
                f"function {self.name!r} takes {', '.join(names) or 'nothing'}, found "
                f"{len(args)} values in order and {', '.join(kwargs) or 'none'} by name"
            )
        if len(names) != len(self._dtypes):
            raise errors.SignatureError(f"function {self.name!r} does not name all of its tensors")
        shapes = self._shapes()
        tensors = [
            to_array(given[name], dtype, shape, f"{name!r} of function {self.name!r}")
            for name, dtype, shape in zip(names, self._dtypes, shapes, strict=True)
        ]
        return self.run(tensors, fed_strings(tensors))

    def _shapes(self) -> list[Shape]:
        """The shape of each of its tensors, as far as that is known."""
        specs = list(_leaves(self.arguments))
        if len(specs) != len(self._dtypes):
            return [None] * len(self._dtypes)
        return [spec.shape.dimensions for spec in specs]


def _given(value: Any) -> Any:
    """A tensor as the caller gets it: theirs to change, and a plain number or bytes for rank 0."""
    if not isinstance(value, np.ndarray):
        return value
    return released(value) if value.ndim else value[()]


def _decoded(message: StructuredValue) -> Any:
    return decode_structured_value(message) if message.WhichOneof("kind") else None


def _leaves(value: Any) -> list[TensorSpec]:
    if isinstance(value, TensorSpec):
        return [value]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return []
