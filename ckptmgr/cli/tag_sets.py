"""MetaGraphs by their tags, as they are typed and printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.cli.wording import printable
from ckptmgr.saved_model.directory import meta_graph_with_tags


def add_directory_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", required=True, metavar="DIR", help="the folder of the SavedModel")


def add_tag_set_argument(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--tag_set",
        metavar="TAGS",
        required=required,
        help="the tags of a MetaGraph, separated by commas, such as serve or train,gpu",
    )


def chosen_meta_graph(model: SavedModel, tag_set: str) -> MetaGraphDef:
    """The MetaGraph that `--tag_set` names.

    Raises:
        TagsNotFound: In the words of TensorFlow's tool.
    """
    tags = [tag.strip() for tag in tag_set.split(",") if tag.strip()]
    meta_graph = meta_graph_with_tags(model, tags)
    if meta_graph is None:
        known = [",".join(sorted(graph.meta_info_def.tags)) for graph in model.meta_graphs]
        raise errors.TagsNotFound(
            f"MetaGraphDef associated with tag-set {','.join(tags)} could not be found in the "
            f"SavedModel. Please use one of the following tag-sets: {known}"
        )
    return meta_graph


def tag_list(meta_graph: MetaGraphDef) -> str:
    """`['train', 'gpu']`, as TensorFlow's tool prints them."""
    return str(list(meta_graph.meta_info_def.tags))


def name_set(names: Iterable[str]) -> str:
    """`{'Add', 'Mul'}`: a set as Python prints it, but sorted."""
    listed = sorted(names)
    return printable("{" + ", ".join(map(repr, listed)) + "}") if listed else "set()"
