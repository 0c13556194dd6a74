"""`ckptmgr saved-model run --dir DIR --tag_set TAGS --signature_def KEY`: what a model answers.

The model is loaded as a server would: its variables are restored, its init operation is run, and
then the signature. What is printed is what TensorFlow's saved_model_cli prints.

Source: tensorflow/python/tools/saved_model_cli.py.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from ckptmgr import errors, naming
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, SignatureDef
from ckptmgr.cli.command import Command, add_flag
from ckptmgr.cli.saved_model_inputs import read_inputs
from ckptmgr.cli.tag_sets import add_directory_argument, add_tag_set_argument, chosen_meta_graph
from ckptmgr.cli.wording import printable
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.posix import PosixStorage


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_directory_argument(parser)
    add_tag_set_argument(parser, required=True)
    parser.add_argument(
        "--signature_def", metavar="KEY", required=True, help="the signature to run"
    )
    parser.add_argument(
        "--inputs",
        metavar="FILES",
        default="",
        help="files to feed, as KEY=FILE.npy or KEY=FILE.npz[NAME], separated by ;",
    )
    parser.add_argument(
        "--input_exprs",
        metavar="EXPRS",
        default="",
        help="values to feed, as KEY=LITERAL, separated by ;",
    )
    parser.add_argument(
        "--input_examples",
        metavar="EXAMPLES",
        default="",
        help='tf.Examples to feed, as KEY=[{"FEATURE":[VALUE,...]},...], separated by ;',
    )
    parser.add_argument("--outdir", metavar="DIR", help="save each output there, as KEY.npy")
    add_flag(parser, "--overwrite", "replace files of that name in --outdir")
    add_flag(parser, "--allow_pickle", "read --inputs from a pickle, which can run any code")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    if not (arguments.inputs or arguments.input_exprs or arguments.input_examples):
        raise errors.InvalidArgument(
            "At least one of --inputs, --input_exprs or --input_examples must be required"
        )
    values = read_inputs(
        arguments.inputs,
        arguments.input_exprs,
        arguments.input_examples,
        allow_pickle=arguments.allow_pickle,
    )
    meta_graph = chosen_meta_graph(read_saved_model(arguments.dir), arguments.tag_set)
    for key, output in run_signature(arguments.dir, meta_graph, arguments.signature_def, values):
        out.write(f"Result for output key {printable(key)}:\n{output}\n")
        if arguments.outdir:
            path = _save(arguments.outdir, key, output, overwrite=arguments.overwrite)
            out.write(f"Output {printable(key)} is saved to {printable(path)}\n")
    return 0


COMMAND = Command("run", "run a signature of a SavedModel", _add_arguments, _run)


def run_signature(
    directory: str, meta_graph: MetaGraphDef, key: str, values: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Load a model and compute all outputs of one signature, sorted by their keys."""
    signature = _signature(meta_graph, key)
    for name in values:
        if name not in signature.inputs:
            known = ", ".join(f'"{key}"' for key in sorted(signature.inputs))
            raise errors.SignatureError(
                f'"{name}" is not a valid input key. Please choose from {known}, or use '
                f"--show option."
            )
    feeds = {signature.inputs[name].name: value for name, value in values.items()}
    outputs = sorted(signature.outputs)
    # Only here: other commands need not wait until all of a graph's modules are imported.
    from ckptmgr.graph.graph import Graph
    from ckptmgr.graph.session import Session
    from ckptmgr.saved_model.loader import load

    with Session(graph=Graph()) as session:
        load(session, meta_graph.meta_info_def.tags, directory)
        found = session.run([signature.outputs[name].name for name in outputs], feed_dict=feeds)
    return list(zip(outputs, found, strict=True))


def _signature(meta_graph: MetaGraphDef, key: str) -> SignatureDef:
    if key not in meta_graph.signature_def:
        known = ", ".join(sorted(meta_graph.signature_def))
        raise errors.SignatureError(
            f'Could not find signature "{key}". Please choose from: {known}'
        )
    return meta_graph.signature_def[key]


def _save(directory: str, key: str, output: Any, *, overwrite: bool) -> str:
    if os.path.basename(key) != key or key in {"", ".", ".."}:
        # It comes from the model, and must not choose where a file is written.
        raise errors.SignatureError(f"output key {key!r} cannot be the name of a file")
    storage = PosixStorage()
    storage.make_dirs(directory)
    path = os.path.join(directory, f"{key}.npy")
    if not overwrite and storage.stat(path) is not None:
        raise errors.InvalidArgument(
            f'Output file {path} already exists. Add "--overwrite" to overwrite the existing '
            f"output files."
        )
    content = io.BytesIO()
    np.save(content, output)
    temporary = naming.temporary(path, naming.new_token())
    replace_file(storage, path, content.getvalue(), temporary=temporary, durable=False)
    return path
