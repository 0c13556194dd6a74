"""`ckptmgr freeze`: a graph with the variables of a checkpoint in it as constants. Nothing is run.

The flags are those of TensorFlow's freeze_graph, where they mean something without TensorFlow.

Source: tensorflow/python/tools/freeze_graph.py.
"""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple, TextIO

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.cli.command import Command, add_flag
from ckptmgr.cli.tag_sets import chosen_meta_graph
from ckptmgr.cli.wording import printable
from ckptmgr.saved_model.directory import read_saved_model


class _Source(NamedTuple):
    graph_def: GraphDef
    saver_def: SaverDef | None
    checkpoint: str


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    graph = parser.add_mutually_exclusive_group(required=True)
    graph.add_argument("--input_graph", metavar="FILE", help="a GraphDef, binary or text")
    graph.add_argument("--input_meta_graph", metavar="FILE", help="a .meta file")
    graph.add_argument("--input_saved_model_dir", metavar="DIR", help="a SavedModel")
    parser.add_argument("--input_checkpoint", metavar="PREFIX", help="where the values are")
    parser.add_argument("--output_graph", metavar="FILE", required=True, help="what to write")
    parser.add_argument(
        "--output_node_names",
        metavar="NAMES",
        required=True,
        help="the operations that the graph is for, separated by commas",
    )
    parser.add_argument(
        "--saved_model_tags", metavar="TAGS", default="serve", help="the tags of the MetaGraph"
    )
    parser.add_argument(
        "--variable_names_whitelist", metavar="NAMES", help="variables to freeze; else all"
    )
    parser.add_argument(
        "--variable_names_blacklist", metavar="NAMES", help="variables to leave as they are"
    )
    add_flag(parser, "--clear_devices", "forget where operations are to run")
    parser.set_defaults(clear_devices=True)
    add_flag(parser, "--output_text", "write the text format instead of binary")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    # Only here: other commands need not wait until all of a graph's modules are imported.
    from ckptmgr.graph.freezing import freeze_checkpoint
    from ckptmgr.graph.graph_def import write_graph

    source = _source(arguments)
    graph_def = source.graph_def
    if arguments.clear_devices:
        for node in graph_def.node:
            node.device = ""
    frozen = freeze_checkpoint(
        graph_def,
        source.checkpoint,
        _names(arguments.output_node_names),
        saver_def=source.saver_def,
        variable_names_whitelist=_chosen(arguments.variable_names_whitelist),
        variable_names_blacklist=_chosen(arguments.variable_names_blacklist),
    )
    directory, name = os.path.split(arguments.output_graph)
    write_graph(frozen, directory or ".", name, as_text=arguments.output_text)
    out.write(f"{len(frozen.node)} ops in the final graph: {printable(arguments.output_graph)}\n")
    return 0


COMMAND = Command("freeze", "write a graph with its variables as constants", _add_arguments, _run)


def _source(arguments: argparse.Namespace) -> _Source:
    from ckptmgr.graph.graph_def import read_graph_def
    from ckptmgr.graph.meta_graph_files import read_meta_graph_file

    checkpoint: str | None = arguments.input_checkpoint
    if arguments.input_saved_model_dir is not None:
        folder: str = arguments.input_saved_model_dir
        model = chosen_meta_graph(read_saved_model(folder), arguments.saved_model_tags)
        inside = os.path.join(folder, "variables", "variables")
        return _Source(model.graph_def, _saver_def(model), checkpoint or inside)
    if checkpoint is None:
        raise errors.InvalidArgument("--input_checkpoint is needed with a graph or a .meta file")
    if arguments.input_meta_graph is not None:
        meta_graph = read_meta_graph_file(arguments.input_meta_graph)
        return _Source(meta_graph.graph_def, _saver_def(meta_graph), checkpoint)
    return _Source(read_graph_def(arguments.input_graph), None, checkpoint)


def _saver_def(meta_graph: MetaGraphDef) -> SaverDef | None:
    """The Saver's operations, which know the names in the checkpoint; None where there is none."""
    found = meta_graph.saver_def
    return found if found.restore_op_name else None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _chosen(text: str | None) -> list[str] | None:
    return None if text is None else _names(text)
