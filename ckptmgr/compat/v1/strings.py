"""Functions on strings and on serialized examples that do more than name an operation.

Source: tensorflow/python/ops/string_ops.py, parsing_ops.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.conversion import apply, convert_to_tensor, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.tensor_shape import TensorShape


def string_join(inputs: Sequence[Any], separator: str = "", name: str | None = None) -> Tensor:
    return tensor("StringJoin", [list(inputs)], {"separator": separator}, name)


def string_to_number(
    string_tensor: Any = None,
    out_type: Any = DataType.DT_FLOAT,
    name: str | None = None,
    input: Any = None,
) -> Tensor:
    given = string_tensor if input is None else input
    return tensor("StringToNumber", [given], {"out_type": as_dtype(out_type)}, name)


def string_length(input: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    return tensor("StringLength", [input], {"unit": unit}, name)


def substr(input: Any, pos: Any, len: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    return tensor("Substr", [input, pos, len], {"unit": unit}, name)


def regex_replace(
    input: Any, pattern: Any, rewrite: Any, replace_global: bool = True, name: str | None = None
) -> Tensor:
    attrs: dict[str, Any] = {"replace_global": replace_global}
    if isinstance(pattern, str | bytes) and isinstance(rewrite, str | bytes):
        attrs |= {"pattern": pattern, "rewrite": rewrite}
        return tensor("StaticRegexReplace", [input], attrs, name)
    return tensor("RegexReplace", [input, pattern, rewrite], attrs, name)


def reduce_join(
    inputs: Any,
    axis: Any = None,
    keep_dims: bool = False,
    separator: str = "",
    name: str | None = None,
) -> Tensor:
    found = convert_to_tensor(inputs, DataType.DT_STRING)
    axes = list(range(len(found.shape) - 1, -1, -1)) if axis is None else axis
    attrs = {"keep_dims": keep_dims, "separator": separator}
    return tensor("ReduceJoin", [found, axes], attrs, name)


def decode_raw(
    input_bytes: Any = None,
    out_type: Any = None,
    little_endian: bool = True,
    name: str | None = None,
    bytes: Any = None,
) -> Tensor:
    attrs = {"out_type": as_dtype(out_type), "little_endian": little_endian}
    return tensor("DecodeRaw", [input_bytes if bytes is None else bytes], attrs, name)


# --------------------------------------------------------------------------- tf.Example


@dataclass(frozen=True)
class FixedLenFeature:
    """A feature with the same number of values in each example."""

    shape: Any
    dtype: Any
    default_value: Any = None


def parse_example(
    serialized: Any,
    features: Mapping[str, FixedLenFeature],
    name: str | None = None,
    example_names: Any = None,
) -> dict[str, Tensor]:
    """Tensors by name from serialized tf.Examples."""
    odd = [key for key, feature in features.items() if not isinstance(feature, FixedLenFeature)]
    if odd:
        raise errors.GraphError(
            f"only FixedLenFeature is parsed here, found another for {odd[0]!r}"
        )
    keys = sorted(features)
    with get_default_graph().name_scope(name or "ParseExample"):
        defaults, shapes = [], []
        for key in keys:
            feature = features[key]
            dtype, shape = as_dtype(feature.dtype), TensorShape(feature.shape)
            default = feature.default_value
            if default is None:
                defaults.append(tensor("Const", (), {"dtype": dtype, "value": _empty(dtype)}))
            else:
                value = convert_to_tensor(default, dtype, f"key_{key}")
                defaults.append(tensor("Reshape", [value, shape.as_list()]))
            shapes.append(shape.as_tuple())
        inputs = [serialized, example_names or [], [], keys, [], defaults]
        attrs = {
            "num_sparse": 0,
            "dense_shapes": shapes,
            "sparse_types": [],
            "ragged_value_types": [],
            "ragged_split_types": [],
        }
        parsed = apply("ParseExampleV2", inputs, attrs, "ParseExampleV2")
    return dict(zip(keys, parsed.outputs, strict=True))


def _empty(dtype: Any) -> Any:
    from ckptmgr.graph.tensor_values import as_array, encode_tensor

    array, number = as_array([], int(dtype))
    return encode_tensor(array, number, None)
