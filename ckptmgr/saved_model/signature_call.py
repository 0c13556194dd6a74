"""Signatures that can be called, whatever computes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import SignatureDef, TensorInfo
from ckptmgr.formats import dtypes
from ckptmgr.graph.tensor_shape import Shape, as_text, decode_partial_shape
from ckptmgr.graph.tensor_values import decode_tensor
from ckptmgr.saved_model import constants
from ckptmgr.saved_model.arguments import to_array
from ckptmgr.saved_model.signatures import SparseTensor

#: Keys that lead to what sets a model up, not to something to call.
RESERVED_KEYS = (constants.INIT_OP_SIGNATURE_KEY, constants.TRAIN_OP_SIGNATURE_KEY)


class Signature:
    """What a model computes, by name: arrays in, a dict of arrays out.

    Args:
        run: Computes the outputs from one array per input, and the names of those inputs that the
            caller gave: what the others have is the model's.
    """

    def __init__(
        self,
        key: str,
        definition: SignatureDef,
        run: Callable[[dict[str, Any], Collection[str]], dict[str, Any]],
    ) -> None:
        self.key = key
        self.method_name = definition.method_name
        #: How each input and output is described in the model, by its name.
        self.inputs: Mapping[str, TensorInfo] = dict(definition.inputs)
        self.outputs: Mapping[str, TensorInfo] = dict(definition.outputs)
        for info in (*self.inputs.values(), *self.outputs.values()):
            # What is no shape is refused here, not when somebody prints the signature.
            _shape(info)
        self._defaults = {name: decode_tensor(value) for name, value in definition.defaults.items()}
        self._run = run

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Compute all outputs.

        Args:
            args: The only input, where there is one.
            kwargs: Each input by its name; those with a default may be left out.
        Raises:
            SignatureError: An input is missing, or not of the dtype and shape that it must be.
        """
        in_order = self._named(args)
        twice = in_order.keys() & kwargs.keys()
        if twice:
            raise errors.SignatureError(
                f"signature {self.key!r} is given two values for {_listed(twice)}"
            )
        given = {**in_order, **kwargs}
        values = {**self._defaults, **given}
        unknown = [name for name in values if name not in self.inputs]
        missing = [name for name in self.inputs if name not in values]
        if unknown or missing:
            raise errors.SignatureError(
                f"signature {self.key!r} takes the inputs {_listed(self.inputs)}, "
                f"found {_listed(values)}"
            )
        return self._run(
            {
                name: _input(info, values[name], f"input {name!r} of signature {self.key!r}")
                for name, info in self.inputs.items()
            },
            given,
        )

    def _named(self, args: tuple[Any, ...]) -> dict[str, Any]:
        if not args:
            return {}
        if len(args) > 1 or len(self.inputs) != 1:
            raise errors.SignatureError(
                f"signature {self.key!r} takes its inputs by name: {_listed(self.inputs)}"
            )
        return dict(zip(self.inputs, args, strict=True))

    def __repr__(self) -> str:
        def described(infos: Mapping[str, TensorInfo]) -> str:
            return ", ".join(f"{name}: {_described(info)}" for name, info in sorted(infos.items()))

        return f"<Signature {self.key!r} ({described(self.inputs)}) -> ({described(self.outputs)})>"


class Signatures(dict[str, Signature]):
    """The signatures of a model by their keys; asked for another, it tells which there are."""

    def __missing__(self, key: str) -> Signature:
        raise errors.SignatureNotFound(
            f"the model has no signature {key!r}; its signatures are {_listed(self)}"
        )


def _input(info: TensorInfo, value: Any, what: str) -> Any:
    if info.WhichOneof("encoding") == "coo_sparse":
        if not isinstance(value, tuple) or len(value) != len(SparseTensor._fields):
            raise errors.SignatureError(f"{what} must be a SparseTensor, found {value!r:.80}")
        return SparseTensor(*value)
    return to_array(value, info.dtype, _shape(info), what)


def _shape(info: TensorInfo) -> Shape:
    return decode_partial_shape(info.tensor_shape)


def _described(info: TensorInfo) -> str:
    return f"{dtypes.name(dtypes.known(info.dtype))} {as_text(_shape(info))}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
