"""Graphs as GraphDef messages and files.

Nodes are exported in the order in which they were made. On import they are made in the order of
the message, but each after all that it takes, as TensorFlow does; only a loop's NextIteration may
come after the Merge that takes it. An operation of a type that is not known is kept as it is, so
that the graph can be looked at, cut and exported; nothing computes it.

Source: tensorflow/core/common_runtime/graph_constructor.cc,
tensorflow/python/framework/importer.py, tensorflow/python/framework/graph_io.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from google.protobuf import message, text_format

from ckptmgr import arguments, errors, naming
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.op_def_pb2 import OpList
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.importing import Import, strip_unknown_defaults
from ckptmgr.graph.message_files import read_message_bytes
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import encode_partial_shape
from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.posix import PosixStorage


def export_graph_def(graph: Graph, *, add_shapes: bool = False) -> GraphDef:
    """The message for a whole graph.

    Args:
        add_shapes: Say the shapes of each node's outputs in its attribute "_output_shapes".
    """
    graph_def = GraphDef(versions=graph.graph_def_versions)
    for op in graph.get_operations():
        node = graph_def.node.add()
        node.CopyFrom(op._node)
        node.input.extend(op.input_names())
        if add_shapes and op.outputs:
            shapes = node.attr["_output_shapes"].list.shape
            del shapes[:]
            shapes.extend(encode_partial_shape(tensor.partial_shape) for tensor in op.outputs)
    # As TensorFlow: a graph without functions has no library, not an empty one.
    if graph.functions:
        graph_def.library.function.extend(graph.functions.values())
        graph_def.library.gradient.extend(graph.function_gradients)
    return graph_def


def import_graph_def(  # noqa: PLR0913 - TensorFlow's arguments
    graph_def: GraphDef,
    input_map: Mapping[str, Tensor] | None = None,
    return_elements: Sequence[str] | None = None,
    name: str | None = None,
    op_dict: object = None,  # noqa: ARG001 - TensorFlow's
    producer_op_list: OpList | None = None,
    *,
    graph: Graph | None = None,
) -> list[Tensor | Operation] | None:
    """Add what a GraphDef describes to a graph.

    Args:
        input_map: Tensors to be taken instead of those with these names in the message; "^x"
            stands for waiting for the operation x.
        return_elements: Names in the message of operations and tensors to return.
        name: The scope that new operations get; "import" where it is None, none where empty.
        op_dict: For programs that give it; TensorFlow does not use it either.
        producer_op_list: The definitions that the writer had. What its operations can do more,
            and do not use, is left out.
        graph: The default graph where it is None.
    Returns:
        What `return_elements` names, or None.
    Raises:
        InvalidGraph: The message describes no graph; it says which node is wrong. Nothing was
            added.
        NodeNotFound: `input_map` or `return_elements` names what is not there.
    """
    target = get_default_graph() if graph is None else graph
    target.check_not_finalized()
    if not isinstance(graph_def, GraphDef):
        raise errors.GraphTypeError(
            f"a graph is imported from a GraphDef, found {type(graph_def).__name__}"
        )
    source = graph_def
    if producer_op_list is not None:
        source = GraphDef()
        source.CopyFrom(graph_def)
        strip_unknown_defaults(source, producer_op_list)
    with target.name_scope("import" if name is None else name) as scope:
        job = Import(target, source, scope, input_map or {})
        return job.run(return_elements)


# --------------------------------------------------------------------------- files


def write_graph(
    graph_or_graph_def: Graph | GraphDef,
    logdir: str | os.PathLike[str],
    name: str,
    as_text: bool = True,
) -> str:
    """Write a graph to a file, which is made in one step, and return its path.

    Args:
        logdir: Its directory, which is made where it is missing.
        as_text: Write the text format instead of binary.
    """
    graph_def = (
        graph_or_graph_def.as_graph_def()
        if isinstance(graph_or_graph_def, Graph)
        else graph_or_graph_def
    )
    directory = arguments.path_text(logdir)
    path = os.path.join(directory, name)
    data = (
        text_format.MessageToString(graph_def).encode()
        if as_text
        else graph_def.SerializeToString(deterministic=True)
    )
    storage = PosixStorage()
    storage.make_dirs(os.path.dirname(path) or ".")
    replace_file(
        storage, path, data, temporary=naming.temporary(path, naming.new_token()), durable=True
    )
    return path


def read_graph_def(path: str | os.PathLike[str]) -> GraphDef:
    """Read a graph from a file, binary or text.

    Raises:
        MalformedGraph: The file is neither.
        StorageError: It cannot be read.
    """
    name = arguments.path_text(path)
    return decode_graph_def(read_message_bytes(PosixStorage(), name), path=name)


def decode_graph_def(data: bytes, *, path: str | None = None) -> GraphDef:
    """The graph in the content of a file, binary or text.

    Raises:
        MalformedGraph: It is neither.
    """
    graph_def = GraphDef()
    try:
        graph_def.ParseFromString(data)
    except message.DecodeError:
        pass
    else:
        return graph_def
    try:
        text_format.Parse(data, graph_def)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise errors.MalformedGraph(
            f"neither a binary nor a text GraphDef ({error!s:.200})", path=path
        ) from None
    return graph_def


__all__ = [
    "decode_graph_def",
    "export_graph_def",
    "import_graph_def",
    "read_graph_def",
    "write_graph",
]
