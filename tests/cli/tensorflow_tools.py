"""Runs TensorFlow's own command line tools, many times in one process; started by tests.

Standard input has a JSON list of command lines, each `["saved_model_cli", "show", "--dir", ...]` or
`["inspect_checkpoint", "--file_name", ...]`. Printed is, in JSON, what each wrote, and the message
of the exception that ended it. With an argument, a SavedModel is first written to that directory
whose functions take every kind of argument.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any
# TensorFlow's types are not looked at.

from __future__ import annotations

import collections
import contextlib
import io
import json
import runpy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow.python.framework import ops
from tensorflow.python.tools import saved_model_cli

Point = collections.namedtuple("Point", "x y")
SPEC = tf.TensorSpec([None, 3], tf.float32, "x")


class Functions(tf.Module):
    """A function for each kind of argument."""

    @tf.function
    def plain(self, x: Any) -> Any:
        return self.calls_none() + tf.cast(tf.reduce_sum(x), tf.float32)

    @tf.function
    def calls_none(self) -> Any:
        return tf.constant(1.0)

    @tf.function
    def values(self, x: Any, *args: Any, key: Any = None, **more: Any) -> Any:
        return x

    @tf.function
    def only_names(self, *, first: Any) -> Any:
        return first

    @tf.function
    def composite(self, x: Any) -> Any:
        return tf.reduce_sum(tf.nest.flatten(x, expand_composites=True)[0])

    @tf.function(input_signature=[SPEC])
    def signed(self, x: Any) -> Any:
        return x * 2

    @tf.function
    def untraced(self, x: Any) -> Any:
        return x


def write_functions(directory: str) -> None:
    module = Functions()
    for rank in range(12):  # more than ten options, in the order of their counters
        module.plain.get_concrete_function(tf.TensorSpec([None] * rank, tf.float32))
    module.plain.get_concrete_function(tf.TensorSpec(None, tf.int8, "any/rank"))
    x = tf.TensorSpec([], tf.float32)
    values = module.values.get_concrete_function
    values(x, None, True, 1, -2.5, 1e100, "text", 'it\'s "quoted"', "")
    values(x, [1, "a", None], (), (x,), {"k": "text"}, {}, [[1, 2], [x]], {"deep": [x, {"q": 1}]})
    values(
        x, tf.float32, tf.TensorShape([1, None]), tf.TensorShape(None), float("nan"), float("inf")
    )
    values(x, Point(1, x), [Point(1, 2)])
    values(x, key=3)
    module.only_names.get_concrete_function(first=x)
    module.only_names.get_concrete_function(first=x)
    module.only_names.get_concrete_function(first=tf.TensorSpec([2], tf.bfloat16))
    for spec in (
        tf.RaggedTensorSpec([None, None], tf.int32),
        tf.RaggedTensorSpec([3, None, 2], tf.string, ragged_rank=1, row_splits_dtype=tf.int32),
        tf.SparseTensorSpec([None, 4], tf.float32),
        tf.IndexedSlicesSpec([None, 4], tf.float32),
        tf.TensorArraySpec([2], tf.float32),
    ):
        with contextlib.suppress(ValueError, TypeError, NotImplementedError):
            module.composite.get_concrete_function(spec)
            module.composite.get_concrete_function([spec])
    module.bare = module.signed.get_concrete_function()
    module.child = tf.Module()
    tf.saved_model.save(module, directory, signatures={"serving_default": module.signed})


def run_saved_model_cli(command: str, *arguments: str) -> None:
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()
    flags.FLAGS(["saved_model_cli", *arguments])
    getattr(saved_model_cli, command)()


def run_inspect_checkpoint(*arguments: str) -> None:
    options = np.get_printoptions()
    sys.argv = ["inspect_checkpoint", *arguments]
    try:
        runpy.run_module("tensorflow.python.tools.inspect_checkpoint", run_name="__main__")
    finally:
        np.set_printoptions(**options)


def run(tool: str, *arguments: str) -> dict[str, str]:
    runners: dict[str, Callable[..., None]] = {
        "saved_model_cli": run_saved_model_cli,
        "inspect_checkpoint": run_inspect_checkpoint,
    }
    error = ""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runners[tool](*arguments)
        except SystemExit:
            pass
        except Exception as raised:  # noqa: BLE001 - whatever the tool ends with
            error = str(raised)
    return {"out": out.getvalue(), "error": error}


if __name__ == "__main__":
    # Names of loaded functions end in a counter, and are sorted as text: 100 would come before 99.
    while ops.uid() < 100_000:
        pass
    if len(sys.argv) > 1:
        write_functions(sys.argv[1])
    json.dump([run(*command) for command in json.load(sys.stdin)], sys.stdout)
