"""`ckptmgr saved-model show --dir DIR`: what a SavedModel can be asked for. Nothing of it is run.

What is printed is what TensorFlow's saved_model_cli prints, to the byte, but for the order of sets,
which there is another one in each process, and of what it takes from maps: here both are sorted.

Source: tensorflow/python/tools/saved_model_cli.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.cli import wording
from ckptmgr.cli.command import Command, add_flag
from ckptmgr.cli.tag_sets import (
    add_directory_argument,
    add_tag_set_argument,
    chosen_meta_graph,
    name_set,
    tag_list,
)
from ckptmgr.cli.wording import printable
from ckptmgr.formats import dtypes
from ckptmgr.saved_model.describe import (
    Arguments,
    FunctionDescription,
    SignatureDescription,
    TensorDescription,
    describe_functions,
    describe_signatures,
    used_ops,
)
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.saved_model.structured_values import NamedTuple, ShapeValue, TensorSpec, TypeSpec

# TensorFlow's tool prints a comma behind each item and takes the last one back with two of these,
# which a terminal obeys and a file keeps.
_TAKEN_BACK = "\b\b"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_directory_argument(parser)
    add_tag_set_argument(parser)
    parser.add_argument("--signature_def", metavar="KEY", help="show the tensors of this signature")
    add_flag(parser, "--all", "show everything there is")
    add_flag(parser, "--list_ops", "list the operations of the MetaGraph that --tag_set names")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    model = read_saved_model(arguments.dir)
    if arguments.json:
        out.write(wording.json_text(as_json(arguments.dir, _chosen(model, arguments))))
    else:
        out.writelines(f"{line}\n" for line in _lines(model, arguments))
    return 0


COMMAND = Command("show", "show the signatures of a SavedModel", _add_arguments, _run)


def _chosen(model: SavedModel, arguments: argparse.Namespace) -> list[MetaGraphDef]:
    """What JSON tells all of."""
    if arguments.tag_set is None or arguments.all:
        return _sorted(model)
    meta_graph = chosen_meta_graph(model, arguments.tag_set)
    if arguments.signature_def is not None:
        _signature(meta_graph, arguments.signature_def)
    return [meta_graph]


def _sorted(model: SavedModel) -> list[MetaGraphDef]:
    return sorted(model.meta_graphs, key=lambda graph: list(graph.meta_info_def.tags))


def _signature(meta_graph: MetaGraphDef, key: str) -> SignatureDescription:
    signatures = describe_signatures(meta_graph)
    if key not in signatures:
        raise errors.SignatureError(
            f'Could not find signature "{key}". Please choose from: {", ".join(signatures)}'
        )
    return signatures[key]


# --------------------------------------------------------------------------- for programs


def as_json(directory: str, meta_graphs: Iterable[MetaGraphDef]) -> dict[str, Any]:
    return {"directory": directory, "meta_graphs": [_graph_as_json(g) for g in meta_graphs]}


def _graph_as_json(meta_graph: MetaGraphDef) -> dict[str, Any]:
    return {
        "tags": list(meta_graph.meta_info_def.tags),
        "tensorflow_version": meta_graph.meta_info_def.tensorflow_version,
        "signatures": [_signature_as_json(s) for s in describe_signatures(meta_graph).values()],
        "ops": used_ops(meta_graph.graph_def),
        "functions": [_function_as_json(f) for f in describe_functions(meta_graph)],
    }


def _signature_as_json(signature: SignatureDescription) -> dict[str, Any]:
    return {
        "key": signature.key,
        "method_name": signature.method_name,
        "inputs": [_tensor_as_json(*item) for item in signature.inputs.items()],
        "outputs": [_tensor_as_json(*item) for item in signature.outputs.items()],
    }


def _tensor_as_json(key: str, tensor: TensorDescription) -> dict[str, Any]:
    return {
        "key": key,
        "dtype": tensor.dtype,
        "shape": None if tensor.shape is None else list(tensor.shape),
        "name": tensor.name,
        "components": list(tensor.components),
    }


def _function_as_json(function: FunctionDescription) -> dict[str, Any]:
    return {
        "name": function.name,
        "options": [
            {
                "arguments": list(map(_argument_as_json, option.positional)),
                "named_arguments": {k: _argument_as_json(v) for k, v in option.named.items()},
            }
            for option in function.options
        ],
    }


def _argument_as_json(value: Any) -> dict[str, Any]:
    kind = type(value).__name__
    if isinstance(value, TensorSpec):
        shape = value.shape.dimensions
        return {
            "type": kind,
            "name": value.name,
            "dtype": dtypes.name(value.dtype.dtype),
            "shape": None if shape is None else [-1 if size is None else size for size in shape],
        }
    return {"type": _type_name(value), "value": repr(value)}


# --------------------------------------------------------------------------- for people


def _lines(model: SavedModel, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.all:
        yield from _everything(model)
        return
    if arguments.tag_set is None:
        if arguments.list_ops:
            yield "--list_ops must be paired with a tag-set or with --all."
        yield "The given SavedModel contains the following tag-sets:"
        for meta_graph in _sorted(model):
            yield repr(", ".join(sorted(meta_graph.meta_info_def.tags)))
        return
    meta_graph = chosen_meta_graph(model, arguments.tag_set)
    if arguments.list_ops:
        yield _ops_line(meta_graph)
    if arguments.signature_def is not None:
        yield from _signature_lines(_signature(meta_graph, arguments.signature_def), indent="")
        return
    yield "The given SavedModel MetaGraphDef contains SignatureDefs with the following keys:"
    for key in describe_signatures(meta_graph):
        yield f'SignatureDef key: "{printable(key)}"'


def _everything(model: SavedModel) -> Iterator[str]:
    for meta_graph in _sorted(model):
        tags = printable(", ".join(meta_graph.meta_info_def.tags))
        yield ""
        yield f"MetaGraphDef with tag-set: '{tags}' contains the following SignatureDefs:"
        for key, signature in describe_signatures(meta_graph).items():
            yield ""
            yield f"signature_def['{printable(key)}']:"
            yield from _signature_lines(signature, indent="  ")
        yield _ops_line(meta_graph)
    if any(meta_graph.HasField("object_graph_def") for meta_graph in model.meta_graphs):
        yield ""
        functions = [f for meta_graph in model.meta_graphs for f in describe_functions(meta_graph)]
        yield "Concrete Functions:" + "".join(map(_function_text, functions)).removesuffix("\n")


def _ops_line(meta_graph: MetaGraphDef) -> str:
    ops = name_set(used_ops(meta_graph.graph_def))
    return f"The MetaGraph with tag set {tag_list(meta_graph)} contains the following ops: {ops}"


def _signature_lines(signature: SignatureDescription, *, indent: str) -> Iterator[str]:
    yield f"{indent}The given SavedModel SignatureDef contains the following input(s):"
    yield from _tensor_lines("inputs", signature.inputs, indent)
    yield f"{indent}The given SavedModel SignatureDef contains the following output(s):"
    yield from _tensor_lines("outputs", signature.outputs, indent)
    yield f"{indent}Method name is: {printable(signature.method_name)}"


def _tensor_lines(
    direction: str, tensors: Mapping[str, TensorDescription], indent: str
) -> Iterator[str]:
    for key, tensor in tensors.items():
        shape = tensor.shape
        sizes = "unknown_rank" if shape is None else f"({', '.join(map(str, shape))})"
        yield f"{indent}  {direction}['{printable(key)}'] tensor_info:"
        yield f"{indent}      dtype: {tensor.dtype}"
        yield f"{indent}      shape: {sizes}"
        yield f"{indent}      name: {printable(tensor.name)}"


# --------------------------------------------------------------------------- functions


def _function_text(function: FunctionDescription) -> str:
    lines = [f"\n  Function Name: '{printable(function.name)}'"]
    for number, option in enumerate(function.options, 1):
        lines += _option_lines(number, option)
    return "".join(f"{line}\n" for line in lines)


def _option_lines(number: int, option: Arguments) -> Iterator[str]:
    if option.positional:
        yield f"    Option #{number}"
        yield "      Callable with:"
    for index, value in enumerate(option.positional, 1):
        yield f"        Argument #{index}"
        yield from (f"          {line}" for line in _argument_lines(value))
    for index, name in enumerate(option.named, 1):
        yield f"        Named Argument #{index}"
        yield f"          {printable(name)}"


def _argument_lines(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield printable(value)
    elif isinstance(value, TensorSpec):
        yield printable(f"{value.name}: {value!r}")
    else:
        yield f"DType: {printable(_type_name(value))}"
        yield f"Value: {_value_text(value)}"


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        items = [f"'{key}': {_quoted(item)}" for key, item in value.items()]
        return "{" + _listed(items) + "}"
    if isinstance(value, NamedTuple):
        value = tuple(value.fields.values())
    elif isinstance(value, ShapeValue):
        value = value.dimensions or ()
    if isinstance(value, list | tuple):
        return "[" + _listed(map(_quoted, value)) + "]"
    return printable(str(value))


def _listed(items: Iterable[str]) -> str:
    return "".join(f"{printable(item)}, " for item in items) + _TAKEN_BACK


def _quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _type_name(value: Any) -> str:
    if isinstance(value, NamedTuple | TypeSpec):
        return value.name
    names = {"DtypeValue": "DType", "ShapeValue": "TensorShape", "TensorValue": "ndarray"}
    return names.get(type(value).__name__, type(value).__name__)
